package webmail

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// act does one thing to some messages of a box. Its form:
//
//	do    seen, unseen, star, unstar, trash or restore; what buttons of a row are called does the same: star=<entry>
//	e     an entry, may be there often
//	t     a conversation (any entry of it), may be there often: what is meant are its messages in folder
//	folder
//	back  the path to go on to; here: the path to go to when this is undone, if it is another
//
// When htmx asks for the element "none", nothing is answered.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, s.o.Limits.Form)
	if err := r.ParseForm(); err != nil {
		s.problem(w, r, http.StatusRequestEntityTooLarge, "toomuch")
		return
	}
	do, entries := r.PostForm.Get("do"), slices.Clone(r.PostForm["e"])
	for _, row := range []string{"star", "unstar"} {
		if e := r.PostForm.Get(row); e != "" {
			do, entries = row, []string{e}
			r.PostForm.Del("t")
		}
	}
	change, undo := changeOf(do)
	if change == (mailbox.Change{}) {
		s.notFound(w, r)
		return
	}
	box, v := boxOf(r.Context()), viewerOf(r.Context())
	threads := r.PostForm["t"]
	if len(entries)+len(threads) > s.o.Limits.Bulk {
		s.problem(w, r, http.StatusRequestEntityTooLarge, "toomuch")
		return
	}
	for _, thread := range threads {
		of, err := s.entriesOf(r, box, thread, mailbox.Folder(r.PostForm.Get("folder")), do)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		entries = append(entries, of...)
	}
	for part := range slices.Chunk(entries, 200) {
		if err := s.o.Mail.Flag(r.Context(), v.Account.Address, box, part, change); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	if target, ok := fromHTMX(r); ok && target == "none" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	back := localPath(r.PostForm.Get("back"))
	if do == "trash" || do == "restore" {
		back = withoutThread(back, threads)
	}
	if say := acted(s.wordsOf(r), do, max(len(threads), 1), len(entries)); say != "" {
		s.setToast(w, undoing(say, "/m/"+url.PathEscape(v.boxName(box))+"/act", undo, entries, r.PostForm))
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// undoing is the toast that says what was done and takes it back.
func undoing(say, act, undo string, entries []string, form url.Values) toast {
	if undo == "trash" {
		return toast{Text: say} // what was put back was mostly deleted a moment ago
	}
	back := localPath(form.Get("back"))
	if here := form.Get("here"); here != "" {
		back = localPath(here)
	}
	return toast{Text: say, Undo: act, Fields: url.Values{"do": {undo}, "e": entries, "back": {back}}}
}

// withoutThread takes a conversation that is gone from its folder off the end of a page's path.
func withoutThread(path string, threads []string) string {
	at, query, _ := strings.Cut(path, "?")
	parts := strings.Split(at, "/")
	if len(parts) != 5 || parts[1] != "m" || !slices.Contains(threads, parts[4]) {
		return path
	}
	if at = strings.Join(parts[:4], "/"); query != "" {
		at += "?" + query
	}
	return at
}

// changeOf is what an action changes, and the action that takes it back.
func changeOf(do string) (c mailbox.Change, undo string) {
	yes, no := true, false
	switch do {
	case "seen":
		return mailbox.Change{Seen: &yes}, "unseen"
	case "unseen":
		return mailbox.Change{Seen: &no}, "seen"
	case "star":
		return mailbox.Change{Starred: &yes}, "unstar"
	case "unstar":
		return mailbox.Change{Starred: &no}, "star"
	case "trash":
		return mailbox.Change{Trashed: &yes}, "restore"
	case "restore":
		return mailbox.Change{Trashed: &no}, "trash"
	}
	return mailbox.Change{}, ""
}

// acted is what the toast says about an action, "" when what was done is plain to see.
func acted(t *words.Words, do string, threads, entries int) string {
	if entries == 0 {
		return ""
	}
	switch do {
	case "trash":
		return t.T("read.acted.trash", "n", threads)
	case "restore":
		return t.T("read.acted.restore", "n", threads)
	case "seen":
		return t.T("read.acted.seen", "n", threads)
	case "unseen":
		return t.T("read.acted.unseen", "n", threads)
	}
	return ""
}

// entriesOf are the messages of a conversation that an action on it means: those of the folder; to mark it unread or
// starred, the newest of them will do.
func (s *Server) entriesOf(r *http.Request, box mailbox.Box, thread string, folder mailbox.Folder, do string) ([]string, error) {
	items, err := s.o.Mail.Conversation(r.Context(), box, thread)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, it := range items {
		in := it.Folder != mailbox.Drafts && it.Trashed == (folder == mailbox.Trash)
		if (folder == mailbox.Inbox || folder == mailbox.Sent) && do != "seen" {
			in = in && it.Folder == folder
		}
		if in {
			out = append(out, it.Entry)
		}
	}
	if len(out) > 1 && (do == "unseen" || do == "star") {
		out = out[len(out)-1:]
	}
	return out, nil
}
