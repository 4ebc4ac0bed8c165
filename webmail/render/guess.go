package render

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

const guessOctets = 16 << 10 // looked at for a guess

// guess decodes octets of an unknown charset: UTF-8 where they are, else what is likeliest by which octets are
// frequent. It always gives valid UTF-8.
func guess(b []byte) string {
	if bytes.Contains(b, []byte("\x1b$")) || bytes.Contains(b, []byte("\x1b(J")) {
		if out, err := japanese.ISO2022JP.NewDecoder().Bytes(b); err == nil && !bytes.Contains(out, []byte("\ufffd")) {
			return string(out)
		}
	}
	if utf8.Valid(b) {
		return string(b)
	}
	out, err := likeliest(b[:min(len(b), guessOctets)]).NewDecoder().Bytes(b)
	if err != nil {
		return strings.ToValidUTF8(string(b), "\ufffd")
	}
	return strings.ToValidUTF8(string(out), "\ufffd")
}

// likeliest chooses by counting. Western text has single high octets among ASCII letters; Cyrillic text has runs of
// them with most letters small; East Asian text is pairs, and the lead octets tell which.
func likeliest(b []byte) encoding.Encoding {
	var c counts
	c.count(b)
	if c.inRuns == 0 || c.letters >= 2*c.high && c.inRuns*3 <= c.high*2 {
		return charmap.Windows1252
	}
	if c.sjis > 0 && c.sjisBad == 0 && c.sjisKana*4 > c.sjis {
		return japanese.ShiftJIS
	}
	if c.pairs > 0 && c.pairsBad*20 <= c.pairs && c.common*10 >= c.pairs*6 {
		switch {
		case c.kana*4 > c.pairs:
			return japanese.EUCJP
		case c.lowTrail*5 > c.pairs:
			return traditionalchinese.Big5
		case c.hangul*100 > c.pairs*95:
			return korean.EUCKR
		case !c.cyrillic():
			return simplifiedchinese.GB18030
		}
	}
	if c.cyrillic() {
		if c.upperHalf >= c.lowerHalf {
			return charmap.Windows1251
		}
		return charmap.KOI8R
	}
	return charmap.Windows1252
}

type counts struct {
	letters, high, inRuns       int // ASCII letters, octets from 0x80 on, those of them beside another
	lowerHalf, upperHalf, other int // 0xc0-0xdf, 0xe0-0xff, 0x80-0xbf
	oddRuns, runs               int // runs of high octets, those of odd length

	pairs, pairsBad, common, kana, hangul, lowTrail int // common: with a lead octet of what is written most
	sjis, sjisBad, sjisKana                         int
}

func (c *counts) count(b []byte) {
	run := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && b[i] >= 0x80 {
			run++
			c.high++
			switch {
			case b[i] >= 0xe0:
				c.upperHalf++
			case b[i] >= 0xc0:
				c.lowerHalf++
			default:
				c.other++
			}
			continue
		}
		if run > 0 {
			c.runs++
			c.oddRuns += run & 1
			if run > 1 {
				c.inRuns += run
			}
			run = 0
		}
		if i < len(b) && (b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z') {
			c.letters++
		}
	}
	c.countPairs(b)
	c.countShiftJIS(b)
}

// countPairs reads b as EUC, GBK or Big5.
func (c *counts) countPairs(b []byte) {
	for i := 0; i < len(b); i++ {
		if b[i] < 0x80 {
			continue
		}
		if i+1 >= len(b) {
			break
		}
		lead, trail := b[i], b[i+1]
		i++
		c.pairs++
		if lead >= 0xa1 && lead <= 0xd7 {
			c.common++
		}
		switch {
		case lead < 0xa1 || lead == 0xff || trail < 0x40 || trail == 0x7f || trail == 0xff:
			c.pairsBad++
		case trail < 0xa1:
			if trail <= 0x7e && lead >= 0xa4 && lead <= 0xf9 {
				c.lowTrail++
			}
		case lead == 0xa4 || lead == 0xa5:
			c.kana++
		case lead >= 0xb0 && lead <= 0xc8 || lead == 0xa1:
			c.hangul++
		}
	}
}

func (c *counts) countShiftJIS(b []byte) {
	for i := 0; i < len(b); i++ {
		lead := b[i]
		switch {
		case lead < 0x80:
		case lead >= 0xa1 && lead <= 0xdf: // half-width katakana
			c.sjis++
		case lead == 0x80 || lead == 0xa0 || lead >= 0xfd || i+1 >= len(b):
			c.sjisBad++
		default:
			i++
			c.sjis++
			if b[i] < 0x40 || b[i] == 0x7f || b[i] > 0xfc {
				c.sjisBad++
			}
			if lead == 0x82 && b[i] >= 0x9f || lead == 0x83 && b[i] <= 0x96 {
				c.sjisKana++
			}
		}
	}
}

// cyrillic: nearly all high octets are letters, in words of any length.
func (c *counts) cyrillic() bool {
	return c.other*8 < c.high && (c.oddRuns*5 > c.runs || c.runs < 2 && c.high&1 == 1)
}
