package submit

import (
	"fmt"
	"strconv"
	"strings"
)

// words are what a bounce says to a person, in one language. What a verb takes stands in the order of the English text.
type words struct {
	subject   string // subject of the message
	lost      string // subject, date
	lostBare  string // date
	date      string // layout
	said      string // the server's words
	onlyThese string
	safe      string
	away      string // for how long
	units     map[string][2]string
	why       map[string]string // by the keys that whyNot gives
}

// The keys of words.why.
const (
	whyAddress    = "address"
	whyDomain     = "domain"
	whyDisabled   = "disabled"
	whyFull       = "full"
	whyLarge      = "large"
	whyPolicy     = "policy"
	whyCharacters = "characters"
	whyLater      = "later"
	whyRefused    = "refused"
	whyNothing    = "nothing"
)

// wordsOf returns the words of a language by its code ("de", "de-CH"), English where there are none.
func wordsOf(language string) (w words, code string) {
	code, _, _ = strings.Cut(strings.ToLower(language), "-")
	switch code {
	case "fr":
		return french(), code
	case "de":
		return german(), code
	case "ja":
		return japanese(), code
	}
	return english(), "en"
}

// long is a time such as "2 days" in the words' language.
func (w words) long(english string) string {
	number, unit, _ := strings.Cut(english, " ")
	n, err := strconv.Atoi(number)
	forms, ok := w.units[strings.TrimSuffix(unit, "s")]
	if err != nil || !ok {
		return english
	}
	form := forms[1]
	if n == 1 {
		form = forms[0]
	}
	return fmt.Sprintf(form, n)
}

func english() words {
	return words{
		subject: "Not delivered: %s", date: "2 January 2006, 15:04 MST",
		lost:     "Your message “%s” of %s could not be delivered to:",
		lostBare: "Your message of %s could not be delivered to:",
		said:     "The server said: %s", onlyThese: "The other recipients are not concerned.",
		safe: "Nothing is lost: the message is in your Sent folder, from where you can send it again.",
		away: "The server that sends it on could not be reached for %s.",
		units: map[string][2]string{"day": {"%d day", "%d days"}, "hour": {"%d hour", "%d hours"}, "minute": {"%d minute", "%d minutes"},
			"second": {"%d second", "%d seconds"}},
		why: map[string]string{
			whyAddress:    "There is no such address. Please check how it is spelled.",
			whyDomain:     "The part of the address after the @ can't receive mail. Please check how it is spelled.",
			whyDisabled:   "The mailbox takes no mail at the moment.",
			whyFull:       "The mailbox is full.",
			whyLarge:      "The message is too large for the receiver.",
			whyPolicy:     "The receiver's server refused it for reasons of policy.",
			whyCharacters: "An address has characters that a server on the way can't take.",
			whyLater:      "The receiver's server put it off again and again.",
			whyRefused:    "The receiver's server refused it.",
			whyNothing:    "It could not be handed over.",
		},
	}
}

func french() words {
	return words{
		subject: "Non remis : %s", date: "02/01/2006 15:04 MST",
		lost:     "Votre message « %s » du %s n’a pas pu être remis à :",
		lostBare: "Votre message du %s n’a pas pu être remis à :",
		said:     "Réponse du serveur : %s", onlyThese: "Les autres destinataires ne sont pas concernés.",
		safe: "Rien n’est perdu : le message se trouve dans votre dossier Envoyés, d’où vous pouvez le renvoyer.",
		away: "Le serveur d’envoi est resté injoignable pendant %s.",
		units: map[string][2]string{"day": {"%d jour", "%d jours"}, "hour": {"%d heure", "%d heures"}, "minute": {"%d minute", "%d minutes"},
			"second": {"%d seconde", "%d secondes"}},
		why: map[string]string{
			whyAddress:    "Cette adresse n’existe pas. Veuillez en vérifier l’orthographe.",
			whyDomain:     "La partie de l’adresse après le @ ne reçoit pas de courrier. Veuillez en vérifier l’orthographe.",
			whyDisabled:   "Cette boîte ne reçoit pas de courrier en ce moment.",
			whyFull:       "La boîte du destinataire est pleine.",
			whyLarge:      "Le message est trop volumineux pour le destinataire.",
			whyPolicy:     "Le serveur du destinataire l’a refusé selon ses règles.",
			whyCharacters: "Une adresse contient des caractères qu’un serveur sur le trajet n’accepte pas.",
			whyLater:      "Le serveur du destinataire l’a différé à plusieurs reprises.",
			whyRefused:    "Le serveur du destinataire l’a refusé.",
			whyNothing:    "Il n’a pas pu être transmis.",
		},
	}
}

func german() words {
	return words{
		subject: "Nicht zugestellt: %s", date: "02.01.2006, 15:04 MST",
		lost:     "Ihre Nachricht „%s“ vom %s konnte nicht zugestellt werden an:",
		lostBare: "Ihre Nachricht vom %s konnte nicht zugestellt werden an:",
		said:     "Antwort des Servers: %s", onlyThese: "Die übrigen Empfänger sind nicht betroffen.",
		safe: "Es ist nichts verloren: Die Nachricht liegt in Ihrem Ordner „Gesendet“ und kann von dort erneut gesendet werden.",
		away: "Der Server für ausgehende Post war %s lang nicht erreichbar.",
		units: map[string][2]string{"day": {"%d Tag", "%d Tage"}, "hour": {"%d Stunde", "%d Stunden"}, "minute": {"%d Minute", "%d Minuten"},
			"second": {"%d Sekunde", "%d Sekunden"}},
		why: map[string]string{
			whyAddress:    "Diese Adresse gibt es nicht. Bitte prüfen Sie die Schreibweise.",
			whyDomain:     "Der Teil der Adresse nach dem @ kann keine Post empfangen. Bitte prüfen Sie die Schreibweise.",
			whyDisabled:   "Das Postfach nimmt zurzeit keine Nachrichten an.",
			whyFull:       "Das Postfach des Empfängers ist voll.",
			whyLarge:      "Die Nachricht ist für den Empfänger zu groß.",
			whyPolicy:     "Der Server des Empfängers hat sie nach seinen Regeln abgelehnt.",
			whyCharacters: "Eine Adresse enthält Zeichen, die ein Server unterwegs nicht annimmt.",
			whyLater:      "Der Server des Empfängers hat sie immer wieder aufgeschoben.",
			whyRefused:    "Der Server des Empfängers hat sie abgelehnt.",
			whyNothing:    "Sie konnte nicht übergeben werden.",
		},
	}
}

func japanese() words {
	return words{
		subject: "配信できませんでした: %s", date: "2006年1月2日 15:04 MST",
		lost:     "メール「%s」（%s 送信）を次の宛先に配信できませんでした。",
		lostBare: "メール（%s 送信）を次の宛先に配信できませんでした。",
		said:     "サーバーの応答: %s", onlyThese: "ほかの宛先には影響ありません。",
		safe:  "メールは失われていません。「送信済み」フォルダーにあり、そこから送り直せます。",
		away:  "送信サーバーに%s接続できませんでした。",
		units: map[string][2]string{"day": {"%d日間", "%d日間"}, "hour": {"%d時間", "%d時間"}, "minute": {"%d分間", "%d分間"}, "second": {"%d秒間", "%d秒間"}},
		why: map[string]string{
			whyAddress:    "この宛先は存在しません。つづりをご確認ください。",
			whyDomain:     "アドレスの @ より後ろの部分ではメールを受信できません。つづりをご確認ください。",
			whyDisabled:   "このメールボックスは現在メールを受け付けていません。",
			whyFull:       "受信者のメールボックスがいっぱいです。",
			whyLarge:      "メールが受信者の上限より大きすぎます。",
			whyPolicy:     "受信側サーバーの方針により拒否されました。",
			whyCharacters: "途中のサーバーが扱えない文字がアドレスに含まれています。",
			whyLater:      "受信側サーバーが繰り返し受信を見合わせました。",
			whyRefused:    "受信側サーバーに拒否されました。",
			whyNothing:    "引き渡すことができませんでした。",
		},
	}
}
