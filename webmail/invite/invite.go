// Package invite writes the mail that asks people to practise: on a good day, to open the webmail by a link and to make
// their laptop or phone one that signs in without a password. It is pure.
package invite

import (
	"fmt"
	"strings"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/compose"
)

// Options say what the mail tells.
type Options struct {
	Link     accounts.Link
	URL      string // of the link
	Contact  string // whom to ask, "" for nobody
	From     string // the address that it is from
	Language string // of people who have chosen none
	Now      time.Time
}

// Message is the mail to one person, in the person's language and with times of the person's zone.
func Message(a accounts.Account, o Options) compose.Message {
	lang := a.Language
	if lang == "" {
		lang = o.Language
	}
	t := in(lang)
	until := o.Link.Until.UTC()
	zone := " UTC"
	if loc, err := time.LoadLocation(a.Zone); err == nil && a.Zone != "" {
		until, zone = until.In(loc), ""
	}
	lines := []string{t.hello, "", t.why, "", t.what, "", o.URL, "", fmt.Sprintf(t.once, until.Format(t.date)+zone), "", t.after}
	if o.Contact != "" {
		lines = append(lines, "", fmt.Sprintf(t.contact, o.Contact))
	}
	return compose.Message{
		ID: compose.NewMessageID(o.From), Date: o.Now, From: compose.Person{Name: t.from, Addr: o.From}, To: []compose.Person{{Name: a.Name, Addr: a.Address}},
		Subject: t.subject, Text: strings.ReplaceAll(strings.Join(lines, "\n"), "{name}", a.Label()), Auto: true,
	}
}

// text is what the mail says in one language.
type text struct {
	lang, from, subject, hello, why, what, once, after, contact, date string
}

// in is the text of a language; English for those that we don't have.
func in(lang string) text {
	lang, _, _ = strings.Cut(strings.ToLower(lang), "-")
	switch lang {
	case "de":
		return text{lang: "de", from: "E-Mail-Notdienst", subject: "Zwei Minuten üben: E-Mail, wenn der Mailserver ausfällt", hello: "Guten Tag {name},",
			why:  "wenn unser Mailserver einmal ausfällt, können Sie neue E-Mails trotzdem im Browser lesen und beantworten. Damit das am Tag des Ausfalls ohne Mühe geht, richten Sie bitte jetzt das Gerät ein, das Sie dann benutzen werden: Laptop oder Telefon.",
			what: "Öffnen Sie diesen Link auf dem Gerät und drücken Sie dort den Knopf:",
			once: "Der Link gilt einmal, bis %s. Er ist nur für Sie: Bitte leiten Sie ihn nicht weiter.", after: "Danach meldet dieses Gerät Sie 90 Tage lang ohne Passwort an. Jedes Üben verlängert die Frist.",
			contact: "Fragen? %s", date: "02.01.2006 15:04"}
	case "fr":
		return text{lang: "fr", from: "Messagerie de secours", subject: "Deux minutes d’exercice : vos e-mails en cas de panne", hello: "Bonjour {name},",
			why:  "Si notre serveur de messagerie tombe en panne, vous pourrez continuer à lire les nouveaux messages et à y répondre dans votre navigateur. Pour que tout soit simple ce jour-là, préparez dès maintenant l’appareil que vous utiliserez : ordinateur portable ou téléphone.",
			what: "Ouvrez ce lien sur cet appareil, puis appuyez sur le bouton :",
			once: "Le lien sert une seule fois, jusqu’au %s. Il vous est personnel : merci de ne pas le transférer.", after: "Ensuite, cet appareil vous connecte sans mot de passe pendant 90 jours. Chaque exercice prolonge ce délai.",
			contact: "Des questions ? %s", date: "02/01/2006 à 15:04"}
	case "ja":
		return text{lang: "ja", from: "緊急用メール", subject: "2分間の練習：メールサーバー障害時のメールについて", hello: "{name} 様",
			why:  "メールサーバーに障害が起きても、新着メールの閲覧と返信はブラウザーで続けられます。当日に慌てないよう、そのときに使うパソコンまたは電話を今のうちにご準備ください。",
			what: "その端末で次のリンクを開き、ボタンを押してください。",
			once: "リンクは一度だけ、%s まで有効です。ご本人専用ですので、転送しないでください。", after: "以後90日間、この端末ではパスワードなしでサインインできます。練習のたびに期間が延びます。",
			contact: "お問い合わせ：%s", date: "2006/01/02 15:04"}
	}
	return text{lang: "en", from: "Emergency mail", subject: "Two minutes of practice: mail when the mail server is down", hello: "Hello {name},",
		why:  "If our mail server ever fails, you can still read and answer new mail in a browser. To make that easy on the day, please set up the device now that you would use then: a laptop or a phone.",
		what: "Open this link on that device and press the button:",
		once: "The link works once, until %s. It is for you alone: please don't forward it.", after: "From then on that device signs you in without a password for 90 days, renewed each time you practise.",
		contact: "Questions? %s", date: "2 Jan 2006 15:04"}
}
