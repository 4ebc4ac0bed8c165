package webmail

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"restante/webmail/render"
	"restante/webmail/words"
)

// verdictView says in plain words what is to be thought of the sender.
type verdictView struct {
	Level   string // verified, unverified, suspicious
	Icon    string
	Kind    string // class of the chip: good, warn, bad
	Text    string
	Reasons []string
}

// verdictOf judges the sender of a message from outside; careful are the reasons to be told in full, above the message.
func verdictOf(t *words.Words, m *source, o *opened) (_ *verdictView, careful []string) {
	v := render.Judge(m.item.Verdicts, m.message, m.item.EnvelopeFrom)
	out := &verdictView{Level: v.Level, Text: t.T("read.verdict.level." + v.Level)}
	switch v.Level {
	case render.Verified:
		out.Icon, out.Kind = "verified", "good"
	case render.Suspicious:
		out.Icon, out.Kind = "warning", "bad"
	case render.Unverified:
		out.Icon, out.Kind = "warning", "warn"
	default:
		return nil, nil
	}
	addr, domain := "", ""
	if len(o.From) > 0 {
		addr = o.From[0].Addr
		_, domain, _ = strings.Cut(addr, "@")
	}
	for _, reason := range v.Reasons {
		said := t.T("read.verdict.reason."+reason, "address", addr, "domain", domain)
		out.Reasons = append(out.Reasons, said)
		if v.Level == render.Suspicious && grave(reason) {
			careful = append(careful, said)
		}
	}
	if v.Level == render.Suspicious && len(careful) == 0 {
		careful = out.Reasons
	}
	return out, careful
}

// contentWarning says what content filters found in a message that was taken all the same.
func contentWarning(t *words.Words, verdicts map[string]string) []string {
	switch verdicts["content"] {
	case "virus":
		return []string{t.T("read.verdict.content.virus", "name", verdicts["clamd.virus"])}
	case "spam":
		return []string{t.T("read.verdict.content.spam")}
	}
	return nil
}

// grave are the reasons that make a sender suspicious by themselves.
func grave(reason string) bool {
	return slices.Contains([]string{render.ReasonName, render.ReasonMixed, render.ReasonLookalike, render.ReasonBidi, render.ReasonInvisible, render.ReasonReplyTo, render.ReasonManySenders, render.ReasonDMARCFail}, reason)
}

// files lists the attachments, and tells invitations in words.
func (s *Server) files(ctx context.Context, r *http.Request, m *source, out *opened) {
	for _, p := range m.message.Attachments {
		f := fileView{Name: p.FileName(), Size: p.Size, Icon: "file", Path: out.at("part/"+url.PathEscape(p.ID), nil)}
		f.Path = strings.Replace(f.Path, "?in="+url.QueryEscape(out.Inner), "", 1) // parts are named through the outermost message
		switch {
		case p.Message != nil:
			f.Icon, f.Message = "unseen", true
			f.Show = out.Path + "?" + url.Values{"in": {p.ID}}.Encode()
			if p.Message.Subject != "" {
				f.Name = p.Message.Subject
			}
		case shownImage(p.Type):
			f.Icon, f.Show = "image", f.Path+"?show=1"
		case p.Type == "text/calendar" || p.Type == "application/ics":
			f.Icon = "calendar"
		}
		out.Files = append(out.Files, f)
	}
	if len(out.Files) > 1 {
		out.Zip = out.at("zip", nil)
	}
	out.Invitations = s.invitations(ctx, r, m)
}

// shownImage are the types of pictures that browsers decode and that can't hold script.
func shownImage(ctype string) bool {
	return slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, ctype)
}

// invitationView is one event of a calendar, in words.
type invitationView struct {
	Title, What  string // "Invitation", what it is about
	Kind         string // "bad" when it is called off
	When, Where  string
	URL          string
	Zone         string // the time in the calendar's own zone, if that reads otherwise
	Repeat       string
	Organizer    string
	People       []string
	More         int
	Description  string
	Save         string // address of the .ics
	MonthS, DayS string // of the leaf
}

const (
	maxInvitations = 5   // events of one message that are shown
	maxInvited     = 12  // people of one event that are named
	maxDescription = 600 // octets
)

// invitations reads the calendar parts of a message; what can't be read is left to its file.
func (s *Server) invitations(ctx context.Context, r *http.Request, m *source) []invitationView {
	t, zone := s.wordsOf(r), zoneOf(r)
	var out []invitationView
	said := map[string]bool{} // the same event often comes as body and as file
	for _, p := range leaves(m.message.Root) {
		if p.Type != "text/calendar" && p.Type != "application/ics" {
			continue
		}
		list, err := render.Calendar(ctx, p)
		if err != nil {
			continue
		}
		for _, inv := range list {
			key := inv.UID + inv.Method + inv.Start.String()
			if said[key] || len(out) >= maxInvitations {
				continue
			}
			said[key] = true
			view := invitationOf(t, zone, inv)
			view.Save = messagePath(viewerOf(r.Context()).boxName(boxOf(r.Context())), m.item.Entry) + "/part/" + url.PathEscape(p.ID)
			out = append(out, view)
		}
	}
	return out
}

// leaves are the parts that have no children, in their order; nested messages are one.
func leaves(p *render.Part) []*render.Part {
	if p == nil {
		return nil
	}
	if len(p.Children) == 0 || p.Message != nil {
		return []*render.Part{p}
	}
	var out []*render.Part
	for _, c := range p.Children {
		out = append(out, leaves(c)...)
	}
	return out
}

func invitationOf(t *words.Words, zone *time.Location, inv render.Invitation) invitationView {
	out := invitationView{What: inv.Summary, Where: inv.Location, URL: inv.URL, Description: inv.Description}
	if out.What == "" {
		out.What = t.T("read.event.untitled")
	}
	if len(out.Description) > maxDescription {
		out.Description = strings.ToValidUTF8(out.Description[:maxDescription], "") + " …"
	}
	key := "other"
	switch inv.Method {
	case "REQUEST":
		key = "request"
	case "CANCEL":
		key = "cancel"
	case "REPLY":
		key = "reply"
	case "COUNTER":
		key = "counter"
	}
	if inv.Status == "CANCELLED" {
		key = "cancel"
	}
	if key == "cancel" {
		out.Kind = "bad"
	}
	out.Title = t.T("read.event." + key)
	if key == "reply" && len(inv.Attendees) == 1 {
		if a := inv.Attendees[0]; slices.Contains([]string{"ACCEPTED", "DECLINED", "TENTATIVE"}, a.Answer) {
			out.Title = t.T("read.event.answer."+strings.ToLower(a.Answer), "name", personName(a.Address))
		}
	}
	eventTime(t, zone, inv, &out)
	out.Repeat = repeatOf(t, zone, inv.Repeat)
	if inv.Organizer.Addr != "" || inv.Organizer.Name != "" {
		out.Organizer = personName(inv.Organizer)
	}
	for i, a := range inv.Attendees {
		if i == maxInvited {
			out.More = len(inv.Attendees) - i
			break
		}
		name := personName(a.Address)
		if slices.Contains([]string{"ACCEPTED", "DECLINED", "TENTATIVE"}, a.Answer) && key != "reply" {
			name += " (" + t.T("read.event.state."+strings.ToLower(a.Answer)) + ")"
		}
		out.People = append(out.People, name)
	}
	return out
}

func personName(a render.Address) string {
	if a.Name != "" && a.Suspicious == "" {
		return render.Visible(a.Name)
	}
	return a.Display()
}

// eventTime writes when an event is: in the reader's zone, and as the calendar has it where that reads otherwise.
func eventTime(t *words.Words, zone *time.Location, inv render.Invitation, out *invitationView) {
	if inv.Start.IsZero() {
		out.When = t.T("read.event.notime")
		return
	}
	if inv.AllDay || inv.Floating {
		zone = inv.Start.Location() // days and floating times are meant where the reader is
	}
	start, end := inv.Start.In(zone), inv.End.In(zone)
	out.MonthS, out.DayS = t.Month(start), t.DayOfMonth(start)
	sameDay := !inv.End.After(inv.Start) || start.Format(time.DateOnly) == end.Format(time.DateOnly)
	switch {
	case inv.AllDay && sameDay:
		out.When = t.T("read.event.allday", "day", t.Day(start, zone))
	case inv.AllDay:
		out.When = t.T("read.event.span", "from", t.Day(start, zone), "to", t.Day(end, zone))
	case !inv.End.After(inv.Start):
		out.When = t.Full(start, zone)
	case sameDay:
		out.When = t.T("read.event.hours", "day", t.Day(start, zone), "from", t.Clock(start, zone), "to", t.Clock(end, zone))
	default:
		out.When = t.T("read.event.span", "from", t.Full(start, zone), "to", t.Full(end, zone))
	}
	if own := inv.Start; !inv.AllDay && !inv.Floating && inv.Zone != "" && own.Format("15:04") != start.Format("15:04") {
		out.Zone = t.T("read.event.zone", "time", own.Format("15:04"), "zone", inv.Zone)
	}
}

// repeatOf says how an event recurs, "" if it doesn't.
func repeatOf(t *words.Words, zone *time.Location, r render.Repeat) string {
	if !slices.Contains([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}, r.Every) {
		return ""
	}
	said := t.T("read.event.every."+strings.ToLower(r.Every), "n", max(r.Interval, 1))
	var days []string
	for _, d := range r.Days {
		if i := slices.Index([]string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}, d); i >= 0 {
			days = append(days, t.Weekday(time.Weekday(i)))
		}
	}
	if len(days) > 0 && len(days) == len(r.Days) {
		said += " (" + strings.Join(days, ", ") + ")"
	}
	switch {
	case !r.Until.IsZero():
		said += ", " + t.T("read.event.until", "day", t.Day(r.Until, zone))
	case r.Count > 0:
		said += ", " + t.T("read.event.times", "n", r.Count)
	}
	return said
}
