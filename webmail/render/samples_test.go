package render

import "strings"

// samples are messages as they come: most are odd in one way that is common.
func samples() map[string]string {
	all := map[string]string{
		"plain":          "From: Anna Schmidt <anna@kunde.example>\nTo: you@example.test\nSubject: Hello\nDate: Sat, 21 Nov 2026 10:41:00 +0100\nMessage-ID: <1@kunde.example>\n\nHello,\n\nsee https://example.test/a.\n\n-- \nAnna\n",
		"no header":      "\nJust text.\n",
		"body only":      "Just text, and no header at all.\nSecond line.\n",
		"no body":        "Subject: only a header\n",
		"empty":          "",
		"mbox":           "From anna@example.test Sat Nov 21 10:00:00 2026\nSubject: from a mailbox file\n\nbody\n",
		"junk header":    "Subject: junk\nthis is no field\nFrom: a@b.test\n\nbody\n",
		"glued body":     "Subject: glued\nFrom: a@b.test\nDear all,\nthis is the body: really.\n",
		"folded":         "Subject: a\n long\n\tsubject\nFrom: a@b.test\n\nbody\n",
		"no boundary":    "Content-Type: multipart/mixed\n\n--xyz\nContent-Type: text/plain\n\nfirst\n--xyz\nContent-Type: text/html\n\n<p>second\n--xyz--\n",
		"wrong boundary": "Content-Type: multipart/alternative; boundary=\"abc\"\n\n--xyz\nContent-Type: text/plain\n\nplain\n--xyz\nContent-Type: text/html\n\n<p>rich\n--xyz--\n",
		"unclosed":       "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nfirst\n--b\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nQUJD",
		"inner unclosed": "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nplain\n--b\nContent-Type: text/html\n\n<p>rich\n--a\nContent-Type: image/png; name=x.png\n\nx\n--a--\n",
		"report":         "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIt could not be delivered.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n--b\nContent-Type: text/rfc822-headers\n\nSubject: x\n--b--\n",
		"forwarded":      "Subject: Fwd\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nSee below.\n--b\nContent-Type: message/rfc822\n\nSubject: Inner\nFrom: c@d.test\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ninner text\n--c\nContent-Type: text/csv; name=t.csv\n\n1,2\n--c--\n\n--b--\n",
		"digest":         "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: one\n\n1\n--b\n\nSubject: two\n\n2\n--b--\n",
		"related":        "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>See <img src=\"cid:logo@x\" alt=logo>\n--b\nContent-Type: image/gif\nContent-ID: <logo@x>\nContent-Transfer-Encoding: base64\n\nR0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7\n--b--\n",
		"between":        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nBefore the picture.\n--b\nContent-Type: image/jpeg; name=x.jpg\nContent-Disposition: inline\n\nx\n--b\n\nAfter the picture.\n--b--\n",
		"uuencode":       "Subject: old\n\nHere it is:\n\nbegin 644 cat.txt\n#0V%T\n`\nend\n\nBye\n",
		"flowed":         "Content-Type: text/plain; format=flowed; delsp=no\n\n>> deep quote \n>> goes on\n> less deep\n\nA paragraph \nthat flows.\n From stuffed\n-- \nsig\n",
		"8 bit":          "Subject: Gr\xfc\xdfe\nFrom: J\xf6rg <j@x.test>\n\nSch\xf6ne Gr\xfc\xdfe aus K\xf6ln\n",
		"outlook": "Subject: =?iso-8859-1?Q?AW=3A_Angebot_f=FCr_Donnerstag?=\nFrom: =?iso-8859-1?Q?M=FCller=2C_J=F6rg?= <j.mueller@x.test>\nContent-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n" +
			"<html xmlns:o=3D\"urn:schemas-microsoft-com:office:office\"><head><style><!--\np.MsoNormal\n\t{margin:0cm;\n\tfont-size:11.0pt;\n\tfont-family:\"Calibri\",sans-serif;\n\tmso-fareast-language:EN-US;}\n--></style></head><body lang=3DDE link=3D\"#0563C1\"><p class=3DMsoNormal>Gr=FC=DFe<o:p></o:p></p></body></html>\n",
		"japanese": "Subject: =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=\nFrom: =?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= <y@x.test>\nContent-Type: text/plain; charset=ISO-2022-JP\n\n\x1b$B$3$s$K$A$O\x1b(B\n",
	}
	for name, raw := range all {
		all[name] = strings.ReplaceAll(raw, "\n", "\r\n")
	}
	return all
}
