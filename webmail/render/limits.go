package render

// Limits bound what one message may cost. A field that is 0 has its default; see [DefaultLimits].
type Limits struct {
	Parts       int   // parts of the message, nested messages' parts included
	Depth       int   // levels of nesting
	Header      int64 // octets of one header
	HeaderTotal int64 // octets of all headers of the message together
	Fields      int   // fields of one header
	Addresses   int   // addresses in one field
	Scan        int64 // octets of the message that are looked through for its structure; beyond, all is one part
	Decoded     int64 // octets that one reader of a part gives
	Nested      int64 // octets of nested messages that must be decoded to be read (base64), all together; kept in memory
	Text        int64 // octets of plain text that are shown; more is cut and said so
	HTML        int64 // octets of HTML that are read to be shown, images inside it included
	Elements    int   // elements of HTML that are shown
	Image       int64 // octets of one image inside the HTML
	Images      int64 // octets of all images inside the HTML
	Pixels      int64 // width times height of one image, which is what a browser must hold
}

// DefaultLimits is what a mail server would let through, and a person can look at.
func DefaultLimits() Limits {
	return Limits{
		Parts:       1000,
		Depth:       50,
		Header:      256 << 10,
		HeaderTotal: 4 << 20,
		Fields:      2000,
		Addresses:   1000,
		Scan:        512 << 20,
		Decoded:     256 << 20,
		Nested:      16 << 20,
		Text:        1 << 20,
		HTML:        2 << 20,
		Elements:    50_000,
		Image:       8 << 20,
		Images:      16 << 20,
		Pixels:      50_000_000,
	}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	or := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orInt(&l.Parts, d.Parts)
	orInt(&l.Depth, d.Depth)
	orInt(&l.Fields, d.Fields)
	orInt(&l.Addresses, d.Addresses)
	or(&l.Header, d.Header)
	or(&l.HeaderTotal, d.HeaderTotal)
	or(&l.Scan, d.Scan)
	or(&l.Decoded, d.Decoded)
	or(&l.Nested, d.Nested)
	or(&l.Text, d.Text)
	or(&l.HTML, d.HTML)
	orInt(&l.Elements, d.Elements)
	or(&l.Image, d.Image)
	or(&l.Images, d.Images)
	or(&l.Pixels, d.Pixels)
	return l
}
