package render

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func mixedMail(parts ...string) string {
	return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
}

func attachment(name, body string) string {
	return "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"" + name + "\"\r\n\r\n" + body
}

func TestWhatIsAFile(t *testing.T) {
	alternative := "Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c\r\nContent-Type: text/html\r\n\r\nx\r\n--c\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nx\r\n--c\r\nContent-Type: text/x-amp-html\r\n\r\nx\r\n--c--"
	for name, x := range map[string]struct{ raw, want string }{
		"text and files":       {mixedMail("\r\nx", attachment("a.pdf", "x"), attachment("b.pdf", "y")), "a.pdf, b.pdf"},
		"two texts":            {mixedMail("\r\nx", "Content-Type: text/plain\r\n\r\nfooter"), ""},
		"a text file":          {mixedMail("\r\nx", "Content-Type: text/plain; name=log.txt\r\n\r\nx"), "log.txt"},
		"a text that is named": {mixedMail("Content-Type: text/plain; name=body.txt\r\n\r\nx", attachment("a", "x")), "a"},
		"attached text":        {mixedMail("Content-Disposition: attachment\r\n\r\nx"), "text.txt"},
		"alternatives":         {mixedMail(alternative), "invitation.ics"},
		"only a file":          {"Content-Type: application/pdf\r\n\r\nx", "document.pdf"},
		"nameless":             {mixedMail("Content-Type: image/jpeg\r\n\r\nx", "Content-Type: application/x-thing\r\n\r\nx", "Content-Type: video/mp4\r\n\r\nx"), "image.jpg, attachment.bin, video.bin"},
		"encoded name":         {mixedMail("Content-Type: application/pdf; name=\"=?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?=\"\r\n\r\nx"), "Grüße.pdf"},
		"8-bit name":           {mixedMail("Content-Type: application/pdf; name=\"Gr\xfc\xdfe.pdf\"\r\n\r\nx"), "Grüße.pdf"},
		"no type":              {mixedMail("Content-Type: \r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nx"), "a.pdf"},
		"unused related":       {"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b\r\nContent-Type: application/pdf; name=x.pdf\r\nContent-ID: <x>\r\n\r\nx\r\n--b--\r\n", "x.pdf"},
	} {
		if got := files(message(t, x.raw)); got != x.want {
			t.Errorf("%s: got %q, want %q", name, got, x.want)
		}
	}
}

func TestZip(t *testing.T) {
	m := message(t, mixedMail("\r\nx", attachment("a.txt", "one"), attachment("A.txt", "two"), attachment("../a.txt", "three"), attachment("noext", "4"), attachment("noext", "5")))
	var b bytes.Buffer
	if err := Zip(context.Background(), &b, m.Attachments); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Name+"="+string(body))
	}
	if s := strings.Join(got, " | "); s != "a.txt=one | A (2).txt=two | a (3).txt=three | noext=4 | noext (2)=5" {
		t.Errorf("got %s", s)
	}
}

// tnef builds a winmail.dat as Outlook does.
func tnef(attributes ...[]byte) string {
	b := binary.LittleEndian.AppendUint32(nil, tnefMagic)
	b = binary.LittleEndian.AppendUint16(b, 1)
	return string(append(b, bytes.Join(attributes, nil)...))
}

func tnefAttribute(id uint32, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{2}, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(append(b, data...), 0, 0)
}

func tnefName(id uint16, name string) []byte {
	var text []byte
	for _, u := range utf16.Encode([]rune(name + "\x00")) {
		text = binary.LittleEndian.AppendUint16(text, u)
	}
	b := binary.LittleEndian.AppendUint32(nil, 2) // two properties, the first of a kind that is passed over
	b = append(b, 0x03, 0x00, 0x05, 0x37, 1, 0, 0, 0)
	b = append(b, 0x1f, 0x00, byte(id), byte(id>>8), 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	return append(b, make([]byte, -len(text)&3)...)
}

func TestWinmailDat(t *testing.T) {
	dat := tnef(
		tnefAttribute(tnefBody, []byte("The text.\x00")),
		tnefAttribute(tnefRend, make([]byte, 14)),
		tnefAttribute(tnefTitle, []byte("ANGEB~1.PDF\x00")),
		tnefAttribute(tnefData, []byte("%PDF")),
		tnefAttribute(tnefAttachment, tnefName(propLongName, "Angebot März.pdf")),
		tnefAttribute(tnefRend, make([]byte, 14)),
		tnefAttribute(tnefTitle, []byte("b.txt\x00")),
		tnefAttribute(tnefData, []byte("bee")),
	)
	head := "Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\n"
	m := message(t, mixedMail("\r\nThe other text.", head+dat))
	if got := files(m); got != "Angebot März.pdf, b.txt" {
		t.Errorf("files %q", got)
	}
	if p, ok := m.Part("1.2.2"); !ok || p.Type != "application/pdf" || octets(t, p) != "%PDF" {
		t.Errorf("part 1.2.2: %+v", p)
	}
	if got := plainText(t, message(t, head+dat)); got != "The text.\n" {
		t.Errorf("text %q", got)
	}
	for n := range len(dat) {
		look(t, strings.NewReader(head+dat[:n]), int64(len(head)+n))
	}
	if got := files(message(t, mixedMail("\r\nx", head+"no such thing"))); got != "winmail.dat" {
		t.Errorf("damaged: %q", got)
	}
}

// calendarLines are several events with all that is read of them.
func calendarLines() []string {
	return strings.Split(`BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VTIMEZONE
TZID:Our own zone
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
BEGIN:VEVENT
UID:1@x.test
SEQUENCE:2
SUMMARY:Angebot\, besprochen am
  Donnerstag
LOCATION:Raum 3\; Köln
DESCRIPTION:Line one\nLine two
ORGANIZER;CN="Schmidt, Anna":MAILTO:anna@kunde.example
ATTENDEE;CN=Max;PARTSTAT=ACCEPTED;ROLE=REQ-PARTICIPANT:mailto:max@example.test
ATTENDEE;PARTSTAT=NEEDS-ACTION;ROLE=OPT-PARTICIPANT:mailto:you@example.test
ATTENDEE;CUTYPE=ROOM;CN=Room:mailto:room@example.test
DTSTART;TZID=Our own zone:20260716T100000
DTEND;TZID=Our own zone:20260716T113000
RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TH;UNTIL=20261231T000000Z
STATUS:CONFIRMED
URL:https://meet.test/1
BEGIN:VALARM
SUMMARY:not this one
DTSTART:20000101T000000Z
END:VALARM
END:VEVENT
BEGIN:VEVENT
SUMMARY:Holiday
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261227
END:VEVENT
BEGIN:VEVENT
SUMMARY:Windows
DTSTART;TZID=W. Europe Standard Time:20261124T100000
DURATION:PT1H30M
END:VEVENT
BEGIN:VEVENT
SUMMARY:UTC
DTSTART:20261124T100000Z
END:VEVENT
BEGIN:VEVENT
SUMMARY:Floating
DTSTART:20261124T100000
END:VEVENT
BEGIN:VEVENT
SUMMARY:Lost
DTSTART;TZID=Nowhere:20261124T100000
DTEND:nonsense`, "\n")
}

func TestInvitation(t *testing.T) {
	raw := mixedMail("\r\nx", "Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n"+strings.Join(calendarLines(), "\r\n"))
	m := message(t, raw)
	if files(m) != "invitation.ics" {
		t.Fatal(files(m))
	}
	events, err := Calendar(context.Background(), m.Attachments[0])
	if err != nil || len(events) != 6 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	e := events[0]
	if e.Method != "REQUEST" || e.UID != "1@x.test" || e.Sequence != 2 || e.Summary != "Angebot, besprochen am Donnerstag" || e.Location != "Raum 3; Köln" ||
		e.Description != "Line one\nLine two" || e.Status != "CONFIRMED" || e.URL != "https://meet.test/1" || e.Zone != "Our own zone" {
		t.Errorf("%+v", e)
	}
	if e.Organizer.Display() != "Schmidt, Anna <anna@kunde.example>" || len(e.Attendees) != 2 || e.Attendees[0].Answer != "ACCEPTED" || !e.Attendees[1].Optional {
		t.Errorf("%+v", e)
	}
	if r := e.Repeat; r.Every != "WEEKLY" || r.Interval != 2 || strings.Join(r.Days, " ") != "TH" || r.Until.IsZero() || r.Complex {
		t.Errorf("%+v", r)
	}
	for i, want := range []string{
		"2026-07-16T08:00:00Z 2026-07-16T09:30:00Z", "2026-12-24T00:00:00Z 2026-12-26T00:00:00Z all day",
		"2026-11-24T09:00:00Z 2026-11-24T10:30:00Z", "2026-11-24T10:00:00Z 2026-11-24T10:00:00Z",
		"2026-11-24T10:00:00Z 2026-11-24T10:00:00Z floating", "2026-11-24T10:00:00Z 2026-11-24T10:00:00Z floating",
	} {
		e := events[i]
		got := e.Start.UTC().Format(time.RFC3339) + " " + e.End.UTC().Format(time.RFC3339)
		if e.AllDay {
			got += " all day"
		}
		if e.Floating {
			got += " floating"
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", e.Summary, got, want)
		}
	}
	if events[2].Zone != "Europe/Berlin" || events[5].Zone != "Nowhere" {
		t.Errorf("zones %q, %q", events[2].Zone, events[5].Zone)
	}
}

func TestZoneOfACalendar(t *testing.T) {
	z := zone{shifts: []shift{
		{start: time.Date(1996, 10, 27, 3, 0, 0, 0, time.UTC), offset: 3600, yearly: true, month: time.October, weekday: time.Sunday, nth: -1},
		{start: time.Date(1996, 3, 31, 2, 0, 0, 0, time.UTC), offset: 7200, yearly: true, month: time.March, weekday: time.Sunday, nth: -1},
	}}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here")
	}
	for day := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() < 2028; day = day.AddDate(0, 0, 1) {
		_, want := time.Date(day.Year(), day.Month(), day.Day(), 12, 0, 0, 0, berlin).Zone()
		if got, ok := z.offset(day); !ok || got != want {
			t.Fatalf("%v: got %d, want %d", day, got, want)
		}
	}
}

func TestImagesWithinHTML(t *testing.T) {
	f := frame(t, samples()["related"])
	if s := string(f.Document); !strings.Contains(s, `<img src="data:image/gif;base64,R0lGODlhAQAB`) || f.Blocked != 0 {
		t.Errorf("%s", s)
	}
	located := strings.NewReplacer("Content-ID: <logo@x>", "Content-Location: logo.gif", "cid:logo@x", "logo.gif").Replace(samples()["related"])
	if s := string(frame(t, located).Document); !strings.Contains(s, `<img src="data:image/gif;base64,R0lGODlhAQAB`) {
		t.Errorf("%s", s)
	}
	huge := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x01\x00\x00\x00\x01\x00\x00\x08\x06\x00\x00\x00"
	for name, octets := range map[string]string{"svg": "<svg/>", "html": "<html>", "huge": huge, "nothing": ""} {
		if kind := ImageType([]byte(octets)); kind != "" {
			t.Errorf("%s is %s", name, kind)
		}
	}
	webp := func(chunk string, rest ...byte) string {
		return "RIFF\x00\x00\x00\x00WEBP" + chunk + "\x00\x00\x00\x00" + string(rest) + strings.Repeat("\x00", 30)
	}
	for name, x := range map[string]struct{ octets, want string }{
		"lossy":      {webp("VP8 ", 0, 0, 0, 0x9d, 1, 0x2a, 10, 0, 10, 0), "image/webp"},
		"lossless":   {webp("VP8L", 0x2f, 1, 2, 3, 0), "image/webp"},
		"extended":   {webp("VP8X", 0, 0, 0, 0, 9, 0, 0, 9, 0, 0), "image/webp"},
		"gigapixels": {webp("VP8X", 0, 0, 0, 0, 255, 255, 255, 255, 255, 255), ""},
		"bmp":        {"BM" + strings.Repeat("\x00", 16) + "\x05\x00\x00\x00\xfb\xff\xff\xff" + strings.Repeat("\x00", 10), "image/bmp"},
	} {
		if got := ImageType([]byte(x.octets)); got != x.want {
			t.Errorf("%s: got %q, want %q", name, got, x.want)
		}
	}
}
