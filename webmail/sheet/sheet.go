// Package sheet prints codes on paper: cards, eight to a page of A4 or Letter, in black and white, each with address,
// QR code, ten codes and what to do with them; and the same as CSV, for those who print themselves.
// It is pure: what it is given is what is printed.
package sheet

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rsc.io/qr"

	"restante/webmail/accounts"
)

// cardsPerPage: two columns of four rows.
const cardsPerPage = 8

// Lengths from which an address is printed smaller, so that the codes have their room.
const (
	longAddress    = 30
	longestAddress = 70
)

//go:embed sheet.html
var page string

// Options say what the cards tell beside the codes.
type Options struct {
	URL      string // of the sign-in page: "https://mx2.example.net"
	Contact  string // whom to call, "" for nobody
	Language string // of people who have chosen none, and of the note on the screen
	Letter   bool   // paper of US Letter size instead of A4
}

// card is one card as the template takes it.
type card struct {
	Lang, Name, Address string
	Long                string // class of a long address
	Link, Host          string
	Before, After, Foot string
	Made                string
	Codes               []code
	QR                  qrPath
}

type code struct {
	No   int
	Code string
}

// qrPath is a QR code as an SVG path of unit squares, the quiet zone included.
type qrPath struct {
	Size int
	Path string
}

// HTML writes a page that prints itself right at 100 %.
func HTML(w io.Writer, sheets []accounts.Sheet, o Options) error {
	t, err := template.New("sheet").Parse(page)
	if err != nil {
		return fmt.Errorf("sheet: %w", err)
	}
	var cards []card
	for _, s := range sheets {
		c, err := makeCard(s, o)
		if err != nil {
			return fmt.Errorf("sheet of %s: %w", s.Account.Address, err)
		}
		cards = append(cards, c)
	}
	wordsOf := in(o.Language)
	data := map[string]any{"Lang": wordsOf.lang, "Title": wordsOf.title, "Screen": wordsOf.screen, "Paper": "A4",
		"CardWidth": template.CSS("105"), "CardHeight": template.CSS("74.2"), "Gap": template.CSS(".7"), "Pages": slices.Collect(slices.Chunk(cards, cardsPerPage))}
	if o.Letter {
		data["Paper"], data["CardWidth"], data["CardHeight"], data["Gap"] = "letter", template.CSS("107.9"), template.CSS("69.8"), template.CSS(".3")
	}
	return t.Execute(w, data)
}

// Link is what the QR code of a card holds: the sign-in page with the address filled in.
func Link(base, address string) string {
	return strings.TrimSuffix(base, "/") + "/signin?address=" + url.QueryEscape(address)
}

func makeCard(s accounts.Sheet, o Options) (card, error) {
	lang := s.Account.Language
	if lang == "" {
		lang = o.Language
	}
	t := in(lang)
	c := card{Lang: t.lang, Name: s.Account.Name, Address: s.Account.Address, Link: Link(o.URL, s.Account.Address), Host: host(o.URL), Made: t.made(s.Made), Foot: t.foot}
	switch n := utf8.RuneCountInString(s.Account.Address); {
	case n >= longestAddress:
		c.Long = " longest"
	case n >= longAddress:
		c.Long = " long"
	}
	c.Before, c.After, _ = strings.Cut(t.how, "%s")
	if o.Contact != "" {
		c.Foot = fmt.Sprintf(t.contact, o.Contact)
	}
	for i, one := range s.Codes {
		c.Codes = append(c.Codes, code{i + 1, one})
	}
	q, err := qr.Encode(c.Link, qr.M)
	if err != nil {
		return c, err
	}
	c.QR = path(q)
	return c, nil
}

// host is a URL as people type it.
func host(base string) string {
	return strings.TrimSuffix(strings.TrimPrefix(base, "https://"), "/")
}

// quiet is the width of the white border of a QR code in modules (ISO/IEC 18004 has 4; white paper around gives the rest).
const quiet = 1

func path(q *qr.Code) qrPath {
	var b strings.Builder
	for y := range q.Size {
		for x := 0; x < q.Size; x++ {
			if !q.Black(x, y) {
				continue
			}
			from := x
			for x < q.Size && q.Black(x, y) {
				x++
			}
			fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
		}
	}
	return qrPath{Size: q.Size + 2*quiet, Path: b.String()}
}

// CSV writes a line for each person: address, name, link, made, code_1 to code_10.
func CSV(w io.Writer, sheets []accounts.Sheet, o Options) error {
	c := csv.NewWriter(w)
	head := []string{"address", "name", "link", "made"}
	for i := range 10 {
		head = append(head, "code_"+strconv.Itoa(i+1))
	}
	if err := c.Write(head); err != nil {
		return err
	}
	for _, s := range sheets {
		row := append([]string{s.Account.Address, accounts.Tame(s.Account.Name), Link(o.URL, s.Account.Address), s.Made.UTC().Format(time.DateOnly)}, s.Codes...)
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
