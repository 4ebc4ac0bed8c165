package sheet

import (
	"strings"
	"time"
)

// text is what a card says in one language.
type text struct {
	lang    string
	title   string
	screen  string // above the cards, not printed
	how     string // one sentence, %s is the host
	contact string // %s is whom to call
	foot    string // where nobody is to be called
	date    string // layout of a date
	madeOn  string // before the date
}

func (t text) made(when time.Time) string { return t.madeOn + " " + when.Format(t.date) }

// in is the text of a language; English for those that we don't have.
func in(lang string) text {
	lang, _, _ = strings.Cut(strings.ToLower(lang), "-")
	switch lang {
	case "de":
		return text{lang: "de", title: "Codes auf Papier",
			screen:  "Drucken Sie diese Seiten in Originalgröße (100 %) und schneiden Sie sie auseinander; jede Karte gehört einer Person. Löschen Sie danach diese Datei: Wer sie hat, kann sich während eines Ausfalls anmelden.",
			how:     "Wenn die E-Mail ausgefallen ist: %s öffnen, Adresse und einen dieser Codes eingeben. Jeder gilt einmal und nur während eines Ausfalls.",
			contact: "Hilfe: %s", foot: "Bewahren Sie diese Karte auf wie einen Schlüssel.", date: "02.01.2006", madeOn: "Erstellt am"}
	case "fr":
		return text{lang: "fr", title: "Codes sur papier",
			screen:  "Imprimez ces pages à 100 %, puis découpez-les : chaque carte revient à une personne. Supprimez ensuite ce fichier : quiconque le possède peut se connecter pendant une panne.",
			how:     "Quand la messagerie est en panne : ouvrez %s, saisissez votre adresse et l’un de ces codes. Chacun sert une fois, pendant une panne seulement.",
			contact: "Aide : %s", foot: "Gardez cette carte comme une clé.", date: "02/01/2006", madeOn: "Établi le"}
	case "ja":
		return text{lang: "ja", title: "紙のコード",
			screen:  "このページを原寸（100%）で印刷して切り離し、カードを一枚ずつ本人にお渡しください。印刷後はこのファイルを削除してください。ファイルを持つ人は障害時にサインインできてしまいます。",
			how:     "メールが使えないときは、%s を開き、アドレスとコードを一つ入力してください。各コードは一度だけ、障害時にのみ使えます。",
			contact: "お問い合わせ：%s", foot: "このカードは鍵と同じように保管してください。", date: "2006/01/02", madeOn: "作成日"}
	}
	return text{lang: "en", title: "Codes on paper",
		screen:  "Print these pages at 100 % and cut them apart; each card belongs to one person. Then delete this file: whoever has it can sign in during an outage.",
		how:     "When mail is down, open %s and enter your address and one of these codes. Each works once, and only during an outage.",
		contact: "Help: %s", foot: "Keep this card as you keep a key.", date: "2 Jan 2006", madeOn: "Made"}
}
