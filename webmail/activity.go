package webmail

import (
	"net/http"
	"strconv"
	"time"

	"restante/spool"
	"restante/webmail/words"
)

// activityPage is how many activities are shown at once.
const activityPage = 50

// activityData is what the page "activity" shows: what was done with the account, the latest first.
type activityData struct {
	Days  []activityDay
	Older string // path of the next page, "" at the end
	Later bool   // this is not the first page
}

type activityDay struct {
	Day  string
	Rows []activityRow
}

type activityRow struct {
	At, Icon, Text string
	About          string // subject of the message it was done with
	From           string // browser and address that it came from
	Warn           bool
}

func (s *Server) activity(w http.ResponseWriter, r *http.Request) {
	v, t, zone := viewerOf(r.Context()), s.wordsOf(r), zoneOf(r)
	var before time.Time
	if n, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64); err == nil {
		before = time.Unix(0, n)
	}
	events, err := s.o.Mail.Activity(r.Context(), v.Account.Address, before, activityPage+1)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	d := activityData{Later: !before.IsZero()}
	if len(events) > activityPage {
		events = events[:activityPage]
		d.Older = "/activity?before=" + strconv.FormatInt(events[activityPage-1].Time.UnixNano(), 10)
	}
	for i := range events {
		day := t.Day(events[i].Time, zone)
		if len(d.Days) == 0 || d.Days[len(d.Days)-1].Day != day {
			d.Days = append(d.Days, activityDay{Day: day})
		}
		last := &d.Days[len(d.Days)-1]
		last.Rows = append(last.Rows, s.activityRow(r, v, t, zone, &events[i]))
	}
	s.page(w, r, http.StatusOK, "activity", d)
}

// activityRow says one activity in words. An event that this version doesn't know is shown by its name.
func (s *Server) activityRow(r *http.Request, v *viewer, t *words.Words, zone *time.Location, ev *spool.Event) activityRow {
	text := func(key string) string { out, _ := ev.Data[key].(string); return out }
	what := text("what")
	row := activityRow{At: t.Clock(ev.Time, zone), Icon: activityIcon(what), Warn: what == "sign-in-failed" || ev.By != "" && ev.By != v.Account.Address}
	how := "signin.how." + text("method")
	if !t.Has(how) {
		how = "signin.how.unknown"
	}
	n, _ := ev.Data["recipients"].(float64)
	if whole, ok := ev.Data["recipients"].(int); ok {
		n = float64(whole)
	}
	key := "signin.activity." + what
	if !t.Has(key) {
		key = "signin.activity.unknown"
	}
	row.Text = t.T(key, "how", t.T(how), "n", int64(n), "device", text("device"), "what", what)
	if ev.By != "" && ev.By != v.Account.Address {
		row.Text += t.T("signin.activity.by", "who", ev.By)
	}
	row.About = s.subjectOf(r, v, ev.Entry)
	if file := text("file"); file != "" {
		row.About = file
	}
	row.From = text("agent")
	if addr := text("addr"); addr != "" {
		if row.From != "" {
			row.From += " · "
		}
		row.From += addr
	}
	return row
}

// subjectOf is the subject of a message that the viewer may see, "" of any other.
func (s *Server) subjectOf(r *http.Request, v *viewer, entry string) string {
	if entry == "" {
		return ""
	}
	for _, b := range v.readable() {
		if item, err := s.o.Mail.Item(r.Context(), b, entry); err == nil {
			return item.Subject
		}
	}
	return ""
}

func activityIcon(what string) string {
	switch what {
	case "sign-in":
		return "person"
	case "sign-out", "session-ended", "sessions-ended":
		return "leave"
	case "sign-in-failed":
		return "warning"
	case "send", "unsend":
		return "sent"
	case "download":
		return "save"
	case "device-added", "device-removed":
		return "laptop"
	case "password-changed", "second-on", "second-off":
		return "key"
	}
	return "clock"
}
