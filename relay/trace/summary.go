package trace

import (
	"bytes"
	"io"
	"mime"
	"strings"

	"golang.org/x/text/encoding/htmlindex"

	"restante/spool"
)

// maxSummary bounds each field of a Summary, in octets.
const maxSummary = 200

// Summarize returns the header fields of a message that lists show: the first of each name, unfolded,
// encoded words decoded (RFC 2047) as far as they can be, printable and cut.
func Summarize(r io.ReaderAt, size int64) (spool.Summary, error) {
	header, _, err := Header(r, 0, min(size, 256<<10))
	if err != nil {
		return spool.Summary{}, err
	}
	var s spool.Summary
	var inReplyTo, references string
	for at := 0; at < len(header); {
		end := FieldEnd(header, at)
		name, value, ok := bytes.Cut(header[at:end], []byte(":"))
		at = end
		if !ok || len(name) > 16 {
			continue
		}
		var into *string
		switch strings.ToLower(strings.TrimRight(string(name), " \t")) {
		case "from":
			into = &s.From
		case "to":
			into = &s.To
		case "subject":
			into = &s.Subject
		case "date":
			into = &s.Date
		case "message-id":
			into = &s.MessageID
		case "in-reply-to":
			inReplyTo += string(value)
		case "references":
			references += string(value)
		}
		if into != nil && *into == "" {
			*into = summary(string(value))
		}
	}
	s.Refs = spool.Refs(inReplyTo, references)
	return s, nil
}

func summary(value string) string {
	if len(value) > 20*maxSummary { // long lists of recipients: the rest wouldn't be shown
		value = value[:20*maxSummary]
	}
	value = strings.Join(strings.Fields(value), " ")
	if strings.Contains(value, "=?") {
		d := mime.WordDecoder{CharsetReader: charset}
		if decoded, err := d.DecodeHeader(value); err == nil {
			value = strings.Join(strings.Fields(decoded), " ")
		}
	}
	value = spool.Printable(value)
	if len(value) <= maxSummary {
		return value
	}
	cut := maxSummary - len("…")
	for cut > 0 && value[cut]&0xc0 == 0x80 {
		cut--
	}
	return value[:cut] + "…"
}

func charset(name string, r io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(name)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(r), nil
}
