package webmail

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/compose"
	"restante/webmail/words"
)

// settingsRoutes are the page on which people set what is theirs.
func (s *Server) settingsRoutes() []route {
	return []route{
		{http.MethodGet, "/settings", signedIn, s.settings},
		{http.MethodPost, "/settings", signedIn, s.keepSettings},
	}
}

// settingsPage is what the page "settings" shows.
type settingsPage struct {
	Languages []choice
	Zones     []zoneGroup
	Signature string
	Addresses []string // that one writes from
	Browser   string   // time zone that the browser told
	Now       string   // time of day in the zone that counts
	Problem   string
}

type choice struct {
	Value, Label string
	Chosen       bool
}

type zoneGroup struct {
	Name  string
	Zones []choice
}

// languageName is a language in its own words.
func languageName(lang string) string {
	switch lang {
	case "fr":
		return "Français"
	case "de":
		return "Deutsch"
	case "ja":
		return "日本語"
	}
	return "English"
}

func (s *Server) settings(w http.ResponseWriter, r *http.Request) {
	a := viewerOf(r.Context()).Account
	s.settingsForm(w, r, http.StatusOK, a, "")
}

// settingsForm shows the form as a says.
func (s *Server) settingsForm(w http.ResponseWriter, r *http.Request, status int, a accounts.Account, problem string) {
	p := settingsPage{Signature: a.Signature, Addresses: viewerOf(r.Context()).senders(), Problem: problem}
	for _, l := range words.Languages() {
		p.Languages = append(p.Languages, choice{l, languageName(l), l == a.Language})
	}
	if c, err := r.Cookie(zoneCookie); err == nil {
		if zone, err := time.LoadLocation(strings.ReplaceAll(c.Value, "%2F", "/")); err == nil && len(c.Value) < 64 {
			p.Browser = zone.String()
		}
	}
	p.Now = s.wordsOf(r).Clock(s.o.Now(), zoneOf(r))
	p.Zones = zoneGroups(a.Zone)
	s.page(w, r, status, "settings", p)
}

func (s *Server) keepSettings(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	r.Body = http.MaxBytesReader(w, r.Body, s.o.Limits.Form)
	if err := r.ParseForm(); err != nil {
		s.problem(w, r, http.StatusBadRequest, "form")
		return
	}
	language, zone, signature := r.PostForm.Get("language"), r.PostForm.Get("zone"), strings.TrimSpace(compose.Newlines(r.PostForm.Get("signature")))
	a, err := s.o.Accounts.Edit(r.Context(), v.Account.Address, v.Account.Address, accounts.Edit{Language: &language, Zone: &zone, Signature: &signature})
	if errors.Is(err, accounts.ErrInvalid) {
		tried := v.Account
		tried.Language, tried.Zone, tried.Signature = language, zone, signature
		s.settingsForm(w, r, http.StatusUnprocessableEntity, tried, s.wordsOf(r).T("write.settings.invalid"))
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	t := s.wordsOf(r)
	if a.Language != "" {
		t = words.Of(a.Language)
	}
	s.setToast(w, toast{Text: t.T("write.settings.kept")})
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
}

// zoneGroups lists time zones by part of the world, as people find theirs; chosen is in it, whatever it is.
func zoneGroups(chosen string) []zoneGroup {
	var all []zoneGroup
	found := chosen == ""
	for _, line := range []string{
		"Europe: Amsterdam Athens Belgrade Berlin Brussels Bucharest Budapest Copenhagen Dublin Helsinki Istanbul Kyiv Lisbon London Luxembourg Madrid Moscow Oslo Paris Prague Riga Rome Sofia Stockholm Tallinn Vienna Vilnius Warsaw Zurich",
		"Africa: Algiers Cairo Casablanca Johannesburg Lagos Nairobi Tunis",
		"America: Anchorage Argentina/Buenos_Aires Bogota Caracas Chicago Denver Halifax Lima Los_Angeles Mexico_City Montevideo New_York Phoenix Santiago Sao_Paulo St_Johns Toronto Vancouver",
		"Asia: Almaty Bangkok Dhaka Dubai Ho_Chi_Minh Hong_Kong Jakarta Jerusalem Karachi Kathmandu Kolkata Kuala_Lumpur Manila Riyadh Seoul Shanghai Singapore Taipei Tashkent Tehran Tokyo",
		"Atlantic: Azores Canary Reykjavik",
		"Australia: Adelaide Brisbane Darwin Hobart Melbourne Perth Sydney",
		"Pacific: Auckland Fiji Guam Honolulu Noumea Tahiti",
		"Indian: Mauritius Reunion",
	} {
		region, cities, _ := strings.Cut(line, ":")
		g := zoneGroup{Name: region}
		for city := range strings.FieldsSeq(cities) {
			name := region + "/" + city
			found = found || name == chosen
			label := city[strings.LastIndexByte(city, '/')+1:]
			g.Zones = append(g.Zones, choice{name, strings.ReplaceAll(label, "_", " "), name == chosen})
		}
		all = append(all, g)
	}
	rest := zoneGroup{Name: "UTC", Zones: []choice{{"UTC", "UTC", chosen == "UTC"}}}
	if !found && chosen != "UTC" {
		rest.Zones = append(rest.Zones, choice{chosen, chosen, true})
	}
	return append(all, rest)
}
