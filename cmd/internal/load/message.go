// Package load makes mail and sends it as many MTAs at once would: the load behind the benchmarks and the
// end-to-end tests. Every message carries the hash of its body, so that whoever ends up with it can tell
// that it came through unaltered; every reply is recorded, so that a test knows which messages were
// promised.
package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	numberField = "X-Load-Number: "
	hashField   = "X-Load-SHA256: "
)

// Message returns message number n of about size octets, header included, with CRLF line ends: always the
// same octets for the same arguments. The text is about as compressible as English mail with an attachment.
func Message(run string, n, size int) []byte {
	body := text(n, max(0, size-300))
	sum := sha256.Sum256(body)
	var b bytes.Buffer
	b.Grow(len(body) + 400)
	fmt.Fprintf(&b, "From: Load <load@sender.test>\r\nTo: <user@example.test>\r\nSubject: Load message %d\r\n", n)
	fmt.Fprintf(&b, "Date: Sat, 21 Nov 2026 09:12:04 +0000\r\nMessage-ID: <%s.%d@sender.test>\r\n", run, n)
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n")
	fmt.Fprintf(&b, "%s%s.%d\r\n%s%s\r\n\r\n", numberField, run, n, hashField, hex.EncodeToString(sum[:]))
	b.Write(body)
	return b.Bytes()
}

var words = strings.Fields(`the of and to a in is you that it he was for on are as with his they at be this from
	have or by one had not but what all were when we there can an your which their said if do will each about how up
	out them then she many some so these would other into has more her two like him see time could no make than first
	been its who now people my made over did down only way find use may water long little very after Straße déjà`)

// text is made of words and of lines that look like base64, half and half; some lines begin with dots.
func text(n, size int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 17))
	b := make([]byte, 0, size+80)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for len(b) < size {
		if r.IntN(2) == 0 {
			for range 68 {
				b = append(b, alphabet[r.IntN(64)])
			}
		} else {
			if r.IntN(8) == 0 {
				b = append(b, '.')
			}
			for line := len(b); len(b)-line < 60; {
				b = append(append(b, words[r.IntN(len(words))]...), ' ')
			}
		}
		b = append(b, '\r', '\n')
	}
	return b
}

// Check returns the run and number of a message made by Message, whatever trace fields were put before it and
// whether its lines end in CRLF or LF, or an error when its body isn't what was sent.
func Check(message []byte) (run string, n int, err error) {
	m := bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n"))
	field := func(name string) string {
		_, rest, found := bytes.Cut(m, []byte("\n"+name))
		if !found {
			return ""
		}
		v, _, _ := bytes.Cut(rest, []byte("\n"))
		return string(v)
	}
	number, want := field(numberField), field(hashField)
	run, num, found := strings.Cut(number, ".")
	if !found || want == "" {
		return "", 0, errors.New("no message of this load")
	}
	if n, err = strconv.Atoi(num); err != nil {
		return "", 0, fmt.Errorf("no message of this load: %w", err)
	}
	_, body, _ := bytes.Cut(m, []byte("\n\n"))
	sum := sha256.Sum256(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")))
	if hex.EncodeToString(sum[:]) != want {
		return run, n, fmt.Errorf("message %s was altered", number)
	}
	return run, n, nil
}
