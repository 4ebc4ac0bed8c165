package render

import (
	"context"
	"strings"
)

const maxPlainDepth = 10 // nested messages within nested messages that are indexed

// Plain returns the text of the message for a full-text index, at most max octets of it, and the names of its
// attachments, nested messages included.
func Plain(ctx context.Context, m *Message, max int64) (text string, attachments []string, err error) {
	p := plain{left: int(max)}
	err = p.message(ctx, m, 0)
	return p.text.String(), p.names, err
}

type plain struct {
	text  strings.Builder
	names []string
	left  int
}

func (p *plain) message(ctx context.Context, m *Message, depth int) error {
	t, err := m.Text(ctx)
	if err != nil {
		return err
	}
	for _, b := range t.Blocks {
		for _, l := range b.Lines {
			for _, s := range l {
				p.add(s.Text)
			}
			p.add("\n")
		}
		if p.left <= 0 {
			break
		}
	}
	for _, a := range m.Attachments {
		if len(p.names) < 1000 {
			p.names = append(p.names, a.FileName())
		}
		if a.Message != nil && depth < maxPlainDepth && p.left > 0 {
			p.add(a.Message.Subject + "\n")
			if err := p.message(ctx, a.Message, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plain) add(s string) {
	if len(s) > p.left {
		s, p.left = cutValid(s, max(p.left, 0)), 0
	} else {
		p.left -= len(s)
	}
	p.text.WriteString(s)
}
