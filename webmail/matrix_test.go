package webmail

import (
	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

// draft keeps a draft that says whose it is.
func (r *rig) draft(account, mark string) (writing string) {
	r.t.Helper()
	d, err := r.mail.SaveDraft(r.t.Context(), mailbox.Draft{Account: account, Raw: compose.Draft{To: mark + "@outside.example", Subject: mark + "-draft", Text: mark + "-text"}.Bytes()})
	must(r.t, err)
	return d.Writing
}
