package batch

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

const (
	blockSize = 512
	tocName   = "toc.json"
)

// appendTarHeader appends the ustar header of a regular file (POSIX.1-1988). name has at most 100 octets, size is below 8 GiB.
func appendTarHeader(dst []byte, name string, size int64, modified time.Time) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, blockSize)...)
	h := dst[start:]
	copy(h[0:100], name)
	copy(h[100:], "0000600\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	octal(h[124:135], size)
	octal(h[136:147], max(modified.Unix(), 0))
	copy(h[148:156], "        ")
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	sum := int64(0)
	for _, c := range h {
		sum += int64(c)
	}
	octal(h[148:154], sum)
	h[154] = 0
	return dst
}

// octal fills f with n in octal, zeros first.
func octal(f []byte, n int64) {
	for i := len(f) - 1; i >= 0; i-- {
		f[i] = byte('0' + n&7)
		n >>= 3
	}
}

// appendPadding fills up to a whole block.
func appendPadding(dst []byte, size int64) []byte {
	if over := size % blockSize; over != 0 {
		dst = append(dst, make([]byte, blockSize-over)...)
	}
	return dst
}

// parseTarMember splits the content of one frame into name and content of its member.
func parseTarMember(b []byte) (name string, content []byte, err error) {
	if len(b) < blockSize || string(b[257:262]) != "ustar" {
		return "", nil, fmt.Errorf("%w: no tar header", ErrDamaged)
	}
	sum := int64(8 * ' ')
	for i, c := range b[:blockSize] {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	if want, err := parseOctal(b[148:156]); err != nil || want != sum {
		return "", nil, fmt.Errorf("%w: checksum of a tar header", ErrDamaged)
	}
	size, err := parseOctal(b[124:136])
	if err != nil || size < 0 || size > int64(len(b)-blockSize) {
		return "", nil, fmt.Errorf("%w: size in a tar header", ErrDamaged)
	}
	field, _, _ := bytes.Cut(b[:100], []byte{0})
	return string(field), b[blockSize : blockSize+size], nil
}

func parseOctal(b []byte) (int64, error) {
	return strconv.ParseInt(string(bytes.Trim(b, " \x00")), 8, 64)
}
