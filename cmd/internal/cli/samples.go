package cli

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"restante/cmd/internal/config"
)

// sample is one message of `dev send`, as life brings them.
type sample struct {
	From, Name string // address and display name of the sender
	To         string // local part at the domain; "" for the recipient of the command
	Subject    string
	Fields     string // further header fields, with CRLF
	Type       string // Content-Type; "" for plain text in UTF-8
	Body       string // with CRLF
}

// samples are sent one after the other, and again from the first.
func samples() []sample {
	return []sample{
		{From: "anna.keller@kunde.example", Name: "Anna Keller", Subject: "Offer for Thursday", Fields: "Message-ID: <offer-1@kunde.example>\r\n", Body: lines(
			"Hello Robin,", "", "thank you for the call this morning. Could you send us the revised offer", "for the 40 chairs by Thursday noon? Our board meets in the afternoon.", "",
			"Delivery address has changed, too: Hafenstrasse 12, 20457 Hamburg.", "", "Kind regards", "Anna", "-- ", "Anna Keller, Purchasing", "Kunde GmbH, https://kunde.example/")},
		{From: "news@shop.example", Name: "Chairs & Co.", Subject: "Autumn sale: 20 % off all chairs", Fields: "List-Unsubscribe: <https://shop.example/u/1>\r\n",
			Type: "text/html; charset=utf-8", Body: newsletter},
		{From: "parcel@post-office.example", Name: "Parcel Service", Subject: "Your parcel arrives today between 14:00 and 16:00", Type: "text/html; charset=utf-8", Body: parcel},
		{From: "j.tanaka@toyo.example", Name: encoded("田中 次郎"), Subject: encoded("見積書の件"), Body: lines(
			"お世話になっております。", "東洋商事の田中でございます。", "", "先日ご依頼いただきました見積書について、", "納期は3週間ほどになる見込みです。", "", "ご確認のほどよろしくお願いいたします。")},
		{From: "paula@werkstatt.example", Name: "Paula Werner", Subject: "Invoice 2026-1043", Fields: "MIME-Version: 1.0\r\n", Type: `multipart/mixed; boundary="b1"`, Body: invoice()},
		{From: "anna.keller@kunde.example", Name: "Anna Keller", Subject: "Re: Offer for Thursday", Fields: "Message-ID: <offer-2@kunde.example>\r\nIn-Reply-To: <offer-1@kunde.example>\r\nReferences: <offer-1@kunde.example>\r\n", Body: lines(
			"One more thing: is the oak version still available? We would take ten of those.", "", "Anna", "", "On Thursday Anna Keller wrote:", "> Could you send us the revised offer", "> for the 40 chairs by Thursday noon?")},
		{From: "calendar@partner.example", Name: "Louise Moreau", Subject: "Invitation: Project meeting", Fields: "MIME-Version: 1.0\r\n", Type: `multipart/alternative; boundary="b2"`, Body: invitation()},
		{From: "security@examp1e-bank.example", Name: `"service@bank.example"`, Subject: "Your account has been limited", Fields: "Reply-To: <claims@freemail.example>\r\n", Type: "text/html; charset=utf-8",
			Body: `<p>Dear customer,</p><p>please <a href="http://198.51.100.7/login">https://bank.example/login</a> within 24 hours.</p><form action="http://198.51.100.7/"><input name="pin"></form>` + "\r\n"},
		{From: "visitor@gmx.example", Name: "C. Dubois", To: "info", Subject: encoded("Question sur vos horaires d'été"), Body: lines(
			"Bonjour,", "", "êtes-vous ouverts le samedi matin pendant l'été ? Je voudrais passer avec", "ma fille pour essayer deux modèles.", "", "Bien cordialement,", "Claire Dubois")},
		{From: "salma@noor.example", Name: encoded("سلمى"), Subject: encoded("موعد الأسبوع القادم"), Body: lines("مرحبا،", "", "هل يناسبك موعد يوم الثلاثاء الساعة العاشرة؟", "", "مع التحية، سلمى")},
		{From: "tom@lieferant.example", Name: "Tom Fischer", To: "sales", Subject: "Prices 2027", Body: lines("Hello all,", "", "our new price list is valid from 1 January. Chairs stay as they are,", "tables go up by 3 %.", "", "Tom")},
		{From: "lena@studio.example", Name: "Lena Vogel", Subject: "Photos from the fair", Fields: "MIME-Version: 1.0\r\n", Type: `multipart/related; boundary="b3"`, Body: photos()},
	}
}

func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

func encoded(s string) string {
	return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// message is the sample as it is sent; number tells it from the others.
func (s *sample) message(to string, number int, now time.Time) string {
	var b strings.Builder
	name := s.Name
	if name != "" {
		name += " "
	}
	fmt.Fprintf(&b, "From: %s<%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\n%s", name, s.From, to, s.Subject, now.Format(time.RFC1123Z), s.Fields)
	if !strings.Contains(s.Fields, "Message-ID") {
		fmt.Fprintf(&b, "Message-ID: <%d.%d@%s>\r\n", now.UnixNano(), number, s.From[strings.IndexByte(s.From, '@')+1:])
	}
	if !strings.Contains(s.Fields, "MIME-Version") {
		b.WriteString("MIME-Version: 1.0\r\n")
	}
	kind := s.Type
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s", kind, strings.ReplaceAll(s.Body, "{to}", to))
	return b.String()
}

const newsletter = "<html><body style=\"background:#f4efe6;font-family:Georgia,serif\"><table width=\"600\" align=\"center\" style=\"background:#ffffff\"><tr><td style=\"padding:24px\">" +
	"<img src=\"https://shop.example/logo.png\" alt=\"Chairs &amp; Co.\" width=\"200\" height=\"40\"><h1 style=\"color:#7a3e12\">20&nbsp;% off all chairs</h1>" +
	"<p>Until Sunday: oak, beech and the <b>new foldable one</b>.</p><p><a href=\"https://shop.example/sale?c=1\" style=\"background:#7a3e12;color:#fff;padding:10px 18px;text-decoration:none\">See them all</a></p>" +
	"<p style=\"font-size:12px;color:#888\">You get this since you bought from us. <a href=\"https://shop.example/u/1\">Unsubscribe</a></p></td></tr></table>" +
	"<img src=\"https://track.shop.example/o.gif\" width=\"1\" height=\"1\"></body></html>\r\n"

const parcel = "<html><body><p>Hello,</p><p>your parcel <b>JD 0146 0000 8831</b> arrives today between <b>14:00 and 16:00</b>.</p>" +
	"<table border=\"1\" cellpadding=\"6\"><tr><th>From</th><td>Woodworks Ltd</td></tr><tr><th>To</th><td>{to}</td></tr><tr><th>Weight</th><td>4.2 kg</td></tr></table>" +
	"<p><a href=\"https://post-office.example/t/JD014600008831\">Follow it on the map</a></p></body></html>\r\n"

// part is one part of a multipart message.
func part(boundary, fields, body string) string {
	return "--" + boundary + "\r\n" + fields + "\r\n" + body + "\r\n"
}

// wrapped is base64 in lines of 76 characters.
func wrapped(raw []byte) string {
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	for i := 0; i < len(text); i += 76 {
		b.WriteString(text[i:min(i+76, len(text))] + "\r\n")
	}
	return b.String()
}

func invoice() string {
	pdf := []byte("%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n" +
		"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 144]/Contents 4 0 R/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>endobj\n" +
		"4 0 obj<</Length 52>>stream\nBT /F1 18 Tf 20 100 Td (Invoice 2026-1043: 180.00) Tj ET\nendstream endobj\ntrailer<</Root 1 0 R>>\n")
	return part("b1", "Content-Type: text/plain; charset=utf-8\r\n", lines("Hello Robin,", "", "please find attached the invoice for the repair of the saw, and the list of parts.", "", "Paula")) +
		part("b1", "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"invoice-2026-1043.pdf\"\r\nContent-Transfer-Encoding: base64\r\n", wrapped(pdf)) +
		part("b1", "Content-Type: text/csv; charset=utf-8\r\nContent-Disposition: attachment; filename*=utf-8''Teile%20%C3%BCbersicht.csv\r\n", "part;count\r\nblade;1\r\nbelt;2\r\n") +
		"--b1--\r\n"
}

func invitation() string {
	start := time.Now().AddDate(0, 0, 3).Format("20060102")
	ics := lines("BEGIN:VCALENDAR", "PRODID:-//partner.example//EN", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:meeting-1@partner.example", "DTSTAMP:"+start+"T080000Z",
		"DTSTART:"+start+"T090000Z", "DTEND:"+start+"T103000Z", "SUMMARY:Project meeting", "LOCATION:Room 2.14, or by video", "ORGANIZER;CN=Louise Moreau:mailto:calendar@partner.example",
		"ATTENDEE;CN=Robin;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:you@"+config.DevDomain, "DESCRIPTION:Status\\, budget\\, next steps.", "END:VEVENT", "END:VCALENDAR")
	return part("b2", "Content-Type: text/plain; charset=utf-8\r\n", lines("Louise Moreau invites you to a project meeting.")) +
		part("b2", "Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n", ics) + "--b2--\r\n"
}

func photos() string {
	// A picture of one blue pixel, shown larger.
	png := "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPj/HwADBwIAMCbHYQAAAABJRU5ErkJggg=="
	return part("b3", "Content-Type: text/html; charset=utf-8\r\n", "<p>Hi Robin,</p><p>our stand, just before it opened:</p><p><img src=\"cid:p1@studio\" alt=\"our stand\" width=\"320\" height=\"180\"></p><p>Lena</p>") +
		part("b3", "Content-Type: image/png; name=\"stand.png\"\r\nContent-ID: <p1@studio>\r\nContent-Disposition: inline; filename=\"stand.png\"\r\nContent-Transfer-Encoding: base64\r\n", png+"\r\n") +
		"--b3--\r\n"
}
