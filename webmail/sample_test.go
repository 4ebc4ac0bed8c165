package webmail

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// pass and fail are verdicts as relay/policy leaves them.
func pass() map[string]string {
	return map[string]string{"spf": "pass", "dkim": "pass", "dmarc": "pass"}
}
func fail() map[string]string {
	return map[string]string{"spf": "fail", "dkim": "none", "dmarc": "fail"}
}

// png is a picture of one blue point.
const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkaPj/HwAEhgJ/3RqVPgAAAABJRU5ErkJggg=="

// sampleMail is a morning's mail for anna@example.test, oldest first.
func sampleMail(now time.Time) []held {
	at := func(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }
	date := func(minutes int) string { return at(minutes).Format(time.RFC1123Z) }
	anna := []string{"anna@example.test"}
	return []held{
		{from: "bounce@shop.example", rcpts: anna, at: at(2 * 24 * 60), verdicts: pass(), raw: fmt.Sprintf(`From: =?utf-8?q?Caf=C3=A9_M=C3=BCller?= <hallo@shop.example>
To: anna@example.test
Subject: Your order 4711 is on its way
Message-ID: <o1@shop.example>
Date: %s
List-Unsubscribe: <https://shop.example/u>
Content-Type: text/html; charset=utf-8

<html><body style="background:#f2ede4;font-family:Georgia,serif"><table width="100%%" cellpadding="24"><tr><td align="center">
<table width="520" style="background:#fff;border-radius:8px"><tr><td style="padding:32px">
<img src="https://shop.example/logo.png" alt="Café Müller" width="160" height="48">
<h1 style="color:#7a3b12;font-size:24px">Your coffee is on its way</h1>
<p>Dear Anna, your parcel left us this morning and should be with you on <b>Tuesday</b>.</p>
<p><a href="https://shop.example/track?id=4711" style="background:#7a3b12;color:#fff;padding:12px 20px;border-radius:4px;text-decoration:none">Follow your parcel</a></p>
<p style="color:#777;font-size:12px">Café Müller, Marktplatz 3, Graz</p></td></tr></table></td></tr></table></body></html>
`, date(2*24*60))},
		{from: "max@partner.example", rcpts: anna, at: at(26 * 60), verdicts: pass(), raw: fmt.Sprintf(`From: Max Huber <max@partner.example>
To: Anna Schmidt <anna@example.test>, info@example.test
Cc: Julia Berger <julia@partner.example>
Subject: Offer for Thursday
Message-ID: <t1@partner.example>
Date: %s
Content-Type: text/plain; charset=utf-8; format=flowed

Dear Anna,

could you send us the offer until Thursday? We would like to decide before 
the weekend, and our board meets on Friday morning.

Best regards
Max

-- 
Max Huber, Partner GmbH
+43 316 123456
`, date(26*60))},
		{from: "amelie@agence.example", rcpts: anna, at: at(180), verdicts: pass(), raw: fmt.Sprintf(`From: =?utf-8?b?QW3DqWxpZSBEdXJhbmQ=?= <amelie@agence.example>
To: anna@example.test
Subject: =?utf-8?q?R=C3=A9union_de_lancement?=
Message-ID: <i1@agence.example>
Date: %s
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b1

--b1
Content-Type: multipart/alternative; boundary=b2

--b2
Content-Type: text/plain; charset=utf-8

Bonjour Anna, voici l’invitation pour mardi. À bientôt, Amélie
--b2
Content-Type: text/calendar; charset=utf-8; method=REQUEST

BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//y//EN
METHOD:REQUEST
BEGIN:VEVENT
UID:u1@agence.example
DTSTART:20261124T130000Z
DTEND:20261124T143000Z
SUMMARY:Réunion de lancement
LOCATION:12 rue de la Paix\, Lyon
ORGANIZER;CN=Amélie Durand:mailto:amelie@agence.example
ATTENDEE;CN=Anna Schmidt;PARTSTAT=NEEDS-ACTION:mailto:anna@example.test
ATTENDEE;CN=Max Huber;PARTSTAT=ACCEPTED:mailto:max@partner.example
RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU;COUNT=6
END:VEVENT
END:VCALENDAR
--b2--
--b1--
`, date(180))},
		{from: "info@paket.example", rcpts: anna, at: at(140), verdicts: fail(), raw: fmt.Sprintf(`From: "service@dhl.example" <x8812@paket.example>
Reply-To: help@elsewhere.example
To: anna@example.test
Subject: Your parcel is waiting, pay the customs fee
Message-ID: <p1@paket.example>
Date: %s
Content-Type: text/html; charset=utf-8

<p>Your parcel is waiting. <a href="https://evil.example/login">https://dhl.example/pay</a></p>
`, date(140))},
		{from: "max@partner.example", rcpts: anna, at: at(62), verdicts: pass(), raw: fmt.Sprintf(`From: Max Huber <max@partner.example>
To: Anna Schmidt <anna@example.test>
Subject: Re: Offer for Thursday
Message-ID: <t2@partner.example>
In-Reply-To: <t1@partner.example>
References: <t1@partner.example>
Date: %s
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b1

--b1
Content-Type: text/plain; charset=utf-8

Thank you, Anna. The numbers look right; I have marked two places in the
attached file. See also https://partner.example/projects/17 for the drawings.

Anna Schmidt wrote:
> Here is the offer. Tell me if something is missing.
>
> Kind regards
> Anna
>
>> could you send us the offer until Thursday? We would like to decide before
>> the weekend, and our board meets on Friday morning.
--b1
Content-Type: application/pdf; name="offer-2026-11.pdf"
Content-Disposition: attachment; filename="offer-2026-11.pdf"
Content-Transfer-Encoding: base64

%s
--b1
Content-Type: image/png; name="drawing.png"
Content-Disposition: attachment; filename="drawing.png"
Content-Transfer-Encoding: base64

%s
--b1--
`, date(62), wrapped(strings.Repeat("%PDF-1.4 a page of numbers ", 8000)), png)},
		{from: "yuki@tokyo.example", rcpts: anna, at: at(30), verdicts: pass(), raw: fmt.Sprintf(`From: =?utf-8?b?55Sw5Lit6Ie05a2Q?= <yuki@tokyo.example>
To: anna@example.test
Subject: =?utf-8?b?5Lya6K2w44Gu5pel56iL44Gr44Gk44GE44Gm?=
Message-ID: <j1@tokyo.example>
Date: %s
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

%s
`, date(30), base64.StdEncoding.EncodeToString([]byte("アンナ様\n\nいつもお世話になっております。会議の日程についてご連絡いたします。\n来週の火曜日はいかがでしょうか。\n\n田中")))},
		{from: "noor@clinic.example", rcpts: anna, at: at(12), raw: fmt.Sprintf(`From: =?utf-8?b?2YbZiNixINin2YTZh9iv2Yk=?= <noor@clinic.example>
To: anna@example.test
Subject: =?utf-8?b?2KrYo9mD2YrYryDYp9mE2YXZiNi52K8=?=
Message-ID: <a1@clinic.example>
Date: %s
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

%s
`, date(12), base64.StdEncoding.EncodeToString([]byte("مرحبا آنا،\n\nنؤكد موعدك يوم الثلاثاء الساعة 10:30 في العيادة.\n\nمع أطيب التحيات")))},
		{from: "lea@example.test", rcpts: anna, at: at(3), verdicts: pass(), raw: fmt.Sprintf(`From: Lea Brunner <lea@kunde.example>
To: anna@example.test
Subject: Lunch?
Message-ID: <l1@kunde.example>
Date: %s
Content-Type: text/plain

Mail is down at the office, isn't it? Lunch at 12:30, the usual place.
`, date(3))},
	}
}

// wrapped is base64 in lines.
func wrapped(s string) string {
	e := base64.StdEncoding.EncodeToString([]byte(s))
	var b strings.Builder
	for len(e) > 76 {
		b.WriteString(e[:76] + "\n")
		e = e[76:]
	}
	return b.String() + e
}
