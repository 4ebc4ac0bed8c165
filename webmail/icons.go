package webmail

import "html/template"

// icon returns an icon of 24 units, drawn in the colour of the text around it and hidden from screen readers: whatever
// it says stands beside it in words or in a label. An unknown name draws nothing and fails a test.
func icon(name string) template.HTML {
	d := iconPath(name)
	if d == "" {
		return ""
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">` + d + `</svg>`) //nolint:gosec // constants of this file
}

// iconPath draws what is done with mail, and what it holds.
func iconPath(name string) string {
	switch name {
	case "inbox":
		return `<path d="M4 13 6.3 5.5A1.5 1.5 0 0 1 7.7 4.5h8.6a1.5 1.5 0 0 1 1.4 1L20 13v5a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 18z"/><path d="M4 13h4.5l1.3 2.5h4.4l1.3-2.5H20"/>`
	case "star":
		return `<path d="m12 4.2 2.4 4.9 5.4.8-3.9 3.8.9 5.3-4.8-2.5L7.2 19l.9-5.3-3.9-3.8 5.4-.8z"/>`
	case "sent":
		return `<path d="M20 4.5 3.8 10.4l6.6 3.2 3.2 6.6z"/><path d="m10.4 13.6 4-4"/>`
	case "drafts":
		return `<path d="M13.5 4H7a1.5 1.5 0 0 0-1.5 1.5v13A1.5 1.5 0 0 0 7 20h10a1.5 1.5 0 0 0 1.5-1.5V9z"/><path d="M13.5 4v5h5"/>`
	case "trash":
		return `<path d="M4.5 7h15M9.5 7V4.5h5V7M6.5 7l.8 11.6A1.5 1.5 0 0 0 8.8 20h6.4a1.5 1.5 0 0 0 1.5-1.4L17.5 7M10 11v5M14 11v5"/>`
	case "restore":
		return `<path d="M5 5v5h5"/><path d="M5.5 10A7.5 7.5 0 1 1 4.5 14"/>`
	case "pen":
		return `<path d="m4.5 19.5.9-4L16 4.9a1.6 1.6 0 0 1 2.3 0l.8.8a1.6 1.6 0 0 1 0 2.3L8.5 18.6z"/><path d="m14 7 3 3"/>`
	case "search":
		return `<circle cx="11" cy="11" r="6.5"/><path d="m16 16 4 4"/>`
	case "menu":
		return `<path d="M4 7h16M4 12h16M4 17h16"/>`
	case "more":
		return `<path d="M12 6v.01M12 12v.01M12 18v.01" stroke-width="2.6"/>`
	case "back":
		return `<path d="m14.5 5-7 7 7 7"/>`
	case "newer":
		return `<path d="m6 14.5 6-6 6 6"/>`
	case "older":
		return `<path d="m6 9.5 6 6 6-6"/>`
	case "close":
		return `<path d="m6 6 12 12M18 6 6 18"/>`
	case "check":
		return `<path d="m5 12.5 4.5 4.5L19 7.5"/>`
	case "verified":
		return `<path d="M12 3.5 5.5 6v5.5c0 4 2.7 7.2 6.5 9 3.8-1.8 6.5-5 6.5-9V6z"/><path d="m9 12 2.2 2.2L15.2 10"/>`
	case "warning":
		return `<path d="M12 4.5 3.5 19h17z"/><path d="M12 10v4M12 16.5v.01"/>`
	case "clip":
		return `<path d="m19 11.5-7.3 7.3a4.5 4.5 0 0 1-6.4-6.4l7.6-7.6a3 3 0 0 1 4.3 4.3l-7.6 7.6a1.5 1.5 0 0 1-2.2-2.2l7-7"/>`
	case "reply":
		return `<path d="M10 7 4.5 12l5.5 5"/><path d="M4.5 12H14a5.5 5.5 0 0 1 5.5 5.5V19"/>`
	case "replyall":
		return `<path d="M7 7 2.5 12 7 17M12.5 7 8 12l4.5 5"/><path d="M8 12h6.5a6 6 0 0 1 6 6v1"/>`
	case "forward":
		return `<path d="m14 7 5.5 5-5.5 5"/><path d="M19.5 12H10a5.5 5.5 0 0 0-5.5 5.5V19"/>`
	case "answered":
		return `<path d="M10 7 4.5 12l5.5 5"/><path d="M4.5 12H14a5.5 5.5 0 0 1 5.5 5.5V19"/>`
	case "seen":
		return `<path d="m4 10 8-5.5 8 5.5v8.5A1.5 1.5 0 0 1 18.5 20h-13A1.5 1.5 0 0 1 4 18.5z"/><path d="m4 10.5 8 5.5 8-5.5"/>`
	case "unseen":
		return `<path d="M5.5 5.5h13A1.5 1.5 0 0 1 20 7v10a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 17V7a1.5 1.5 0 0 1 1.5-1.5z"/><path d="m4 7.5 8 5.5 8-5.5"/>`
	case "calendar":
		return `<path d="M5.5 6h13A1.5 1.5 0 0 1 20 7.5v11a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 18.5v-11A1.5 1.5 0 0 1 5.5 6zM4 10.5h16M8 3.5V7M16 3.5V7"/>`
	case "print":
		return `<path d="M7 8.5V4h10v4.5M7 16H5.5A1.5 1.5 0 0 1 4 14.5V10a1.5 1.5 0 0 1 1.5-1.5h13A1.5 1.5 0 0 1 20 10v4.5a1.5 1.5 0 0 1-1.5 1.5H17"/><path d="M7 13.5h10V20H7z"/>`
	case "save":
		return `<path d="M12 4v11M7.5 10.5 12 15l4.5-4.5M5 19.5h14"/>`
	case "file":
		return `<path d="M13.5 4H7a1.5 1.5 0 0 0-1.5 1.5v13A1.5 1.5 0 0 0 7 20h10a1.5 1.5 0 0 0 1.5-1.5V9z"/><path d="M13.5 4v5h5M8.5 13h7M8.5 16h5"/>`
	case "image":
		return `<path d="M5.5 5h13A1.5 1.5 0 0 1 20 6.5v11a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 17.5v-11A1.5 1.5 0 0 1 5.5 5z"/><path d="m4.5 17 4.5-4.5 3 3 3.5-3.5 4 4M9 9.5v.01"/>`
	}
	return thingPath(name)
}

// thingPath draws what isn't about mail.
func thingPath(name string) string {
	switch name {
	case "gear":
		return `<path d="M4 7h9M17 7h3M4 17h3M11 17h9M4 12h3"/><circle cx="15" cy="7" r="2"/><circle cx="9" cy="17" r="2"/><path d="M11 12h9"/>`
	case "shield":
		return `<path d="M12 3.5 5.5 6v5.5c0 4 2.7 7.2 6.5 9 3.8-1.8 6.5-5 6.5-9V6z"/>`
	case "help":
		return `<circle cx="12" cy="12" r="8"/><path d="M9.8 9.8a2.3 2.3 0 1 1 3.2 2.1c-.7.3-1 .8-1 1.6M12 16.3v.01"/>`
	case "leave":
		return `<path d="M13.5 4.5H7A1.5 1.5 0 0 0 5.5 6v12A1.5 1.5 0 0 0 7 19.5h6.5M10.5 12H20M16.5 8.5 20 12l-3.5 3.5"/>`
	case "key":
		return `<circle cx="8" cy="15" r="3.5"/><path d="m10.5 12.5 8-8M15.5 7.5l2.5 2.5"/>`
	case "phone":
		return `<path d="M8.5 3.5h7A1.5 1.5 0 0 1 17 5v14a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 7 19V5a1.5 1.5 0 0 1 1.5-1.5zM11 17.5h2"/>`
	case "laptop":
		return `<path d="M6 5.5h12A1.5 1.5 0 0 1 19.5 7v8.5h-15V7A1.5 1.5 0 0 1 6 5.5zM2.5 18.5h19"/>`
	case "person":
		return `<circle cx="12" cy="8" r="3.5"/><path d="M5 19.5c.6-3.6 3.4-5.5 7-5.5s6.4 1.9 7 5.5"/>`
	case "clock":
		return `<circle cx="12" cy="12" r="8"/><path d="M12 7.5V12l3 2"/>`
	case "link":
		return `<path d="M10 13.5a3.5 3.5 0 0 0 5 0l3-3a3.5 3.5 0 0 0-5-5l-1 1M14 10.5a3.5 3.5 0 0 0-5 0l-3 3a3.5 3.5 0 0 0 5 5l1-1"/>`
	}
	return ""
}
