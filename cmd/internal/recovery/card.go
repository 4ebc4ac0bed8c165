// Package recovery makes a node again on a bare machine. What it needs stands on the recovery card, a sheet of
// paper: where the store is, how to open it, and the cluster key. All else is in the store: the mail, the ledger, and,
// encrypted with that key, the configuration of each node (see [Snapshot]).
package recovery

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"rsc.io/qr"

	"restante/spool/secret"
)

// Card is what stands on a recovery card.
type Card struct {
	Store   string     // URL of the store, as [store] url has it
	Access  string     // key id of the bucket's credentials, "" when there are none to type in
	Secret  string     // and the key itself
	Cluster string     // id of the cluster, to know the right store by
	Node    string     // hostname of the node that printed it
	Key     secret.Key // the cluster key
}

// title is the first line of a card; its number is that of the format.
const title = "RESTANTE RECOVERY CARD 1"

// maxCard bounds the text of a card in octets.
const maxCard = 16 << 10

// Text is the card as it is printed, and as Parse reads it: a title, then a line for each thing with two
// digits behind "#" that tell when the line was mistyped. Whatever other lines stand around it don't matter.
func (c *Card) Text() string {
	var b strings.Builder
	b.WriteString(title + "\n")
	for _, l := range c.lines() {
		if l.value != "" {
			fmt.Fprintf(&b, "%-8s %s  #%s\n", l.name, l.value, check(l.name, l.value))
		}
	}
	return b.String()
}

type line struct {
	name, value string
}

func (c *Card) lines() []line {
	return []line{{"store", c.Store}, {"access", c.Access}, {"secret", c.Secret}, {"cluster", c.Cluster}, {"node", c.Node}, {"key", c.Key.Text()}}
}

// check is two digits of base 32 over a line. Case and the hyphens of the key don't count, since they don't to the key.
func check(name, value string) string {
	if name == "key" {
		value = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(value))
	}
	sum := sha256.Sum256([]byte(name + "\x00" + value))
	return secret.Base32(sum[:2])[:2]
}

// Parse reads a card. Its error names the line that is wrong.
func Parse(text string) (*Card, error) {
	if len(text) > maxCard || !utf8.ValidString(text) {
		return nil, errors.New("this is no recovery card")
	}
	values := map[string]string{}
	rows, titled := joined(text)
	for _, r := range rows {
		name, value, ok := cutLine(r.text)
		if !ok {
			if _, _, meant := cutCheck(r.text); meant {
				return nil, fmt.Errorf("line %d: its first word was mistyped", r.number)
			}
			continue
		}
		value, sum, ok := cutCheck(value)
		if !ok {
			return nil, fmt.Errorf("line %d, %s: its two digits behind # are missing", r.number, name)
		}
		if !strings.EqualFold(sum, check(name, value)) && !(name == "key" && sameKey(value, sum)) {
			return nil, fmt.Errorf("line %d, %s: something in it was mistyped, its digits don't fit", r.number, name)
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("line %d, %s: it is there twice", r.number, name)
		}
		values[name] = value
	}
	if !titled {
		return nil, fmt.Errorf("this is no recovery card: it begins with %q", title)
	}
	return fromValues(values)
}

type row struct {
	number int // of its first line
	text   string
}

// joined puts lines together that were wrapped where the paper or the screen ended, and looks for the title.
func joined(text string) (rows []row, titled bool) {
	open := false // the last row is a line of ours without its two digits
	for n, line := range strings.Split(strings.ReplaceAll(text, "\r", ""), "\n") {
		line = strings.TrimSpace(line)
		_, _, ours := cutLine(line)
		switch {
		case strings.EqualFold(strings.Join(strings.Fields(line), " "), title):
			titled, open = true, false
			continue
		case open && !ours:
			if last := &rows[len(rows)-1]; line != "" && line[0] == '#' {
				last.text += " " + line
			} else {
				last.text += line
			}
		default:
			rows = append(rows, row{n + 1, line})
			open = ours
		}
		if open {
			_, _, done := cutCheck(rows[len(rows)-1].text)
			open = !done
		}
	}
	return rows, titled
}

// ReadText reads the text of a card as it is typed: up to the end of the key, which is the last line, an empty line after
// the title, or the end.
func ReadText(r io.Reader) (string, error) {
	var b strings.Builder
	key := false
	s := bufio.NewScanner(io.LimitReader(r, maxCard))
	for s.Scan() {
		row := strings.TrimSpace(s.Text())
		b.WriteString(row + "\n")
		name, _, _ := cutLine(row)
		key = key || name == "key"
		if _, _, checked := cutCheck(row); row == "" && b.Len() > len(title) || key && checked {
			break
		}
	}
	if err := s.Err(); err != nil {
		return "", fmt.Errorf("reading the card: %w", err)
	}
	return b.String(), nil
}

// sameKey compares what was meant: O for 0 and the like are no typos in a key.
func sameKey(value, sum string) bool {
	k, err := secret.ParseKey(value)
	return err == nil && strings.EqualFold(sum, check("key", k.Text()))
}

func fromValues(values map[string]string) (*Card, error) {
	c := &Card{Store: values["store"], Access: values["access"], Secret: values["secret"], Cluster: values["cluster"], Node: values["node"]}
	for _, name := range []string{"store", "cluster", "key"} {
		if values[name] == "" {
			return nil, fmt.Errorf("the line %q is missing", name)
		}
	}
	if (c.Access == "") != (c.Secret == "") {
		return nil, errors.New("the lines access and secret go together")
	}
	var err error
	c.Key, err = secret.ParseKey(values["key"])
	return c, err
}

// cutLine splits "name value" if it is a line of ours.
func cutLine(row string) (name, value string, ok bool) {
	first, rest, _ := strings.Cut(row, " ")
	first = strings.ToLower(strings.TrimSuffix(first, ":"))
	for _, l := range new(Card).lines() {
		if l.name == first {
			return first, strings.TrimSpace(rest), true
		}
	}
	return "", "", false
}

// cutCheck splits "value  #7K".
func cutCheck(text string) (value, sum string, ok bool) {
	i := strings.LastIndexByte(text, '#')
	if i < 0 || len(strings.TrimSpace(text[i+1:])) != 2 {
		return "", "", false
	}
	sum = strings.ToUpper(strings.TrimSpace(text[i+1:]))
	return strings.TrimSpace(text[:i]), strings.NewReplacer("O", "0", "I", "1", "L", "1").Replace(sum), true
}

// QR is the text of the card as a QR code.
func (c *Card) QR() (*qr.Code, error) { return qr.Encode(c.Text(), qr.L) }

// Blocks draws a QR code with half blocks, dark on light, for a terminal whose letters are twice as high as wide.
func Blocks(code *qr.Code) string {
	const quiet = 2
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < code.Size+quiet; x++ {
			switch up, down := code.Black(x, y), code.Black(x, y+1); {
			case up && down:
				b.WriteRune('█')
			case up:
				b.WriteRune('▀')
			case down:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
