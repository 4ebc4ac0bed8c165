package admin

import (
	"context"
	"io"
	"net/http"
	"time"

	"restante/webmail/accounts"
)

// UserBackend is the part of Backend that is about people: who may sign in, by what, and what they are told.
type UserBackend interface {
	UserAdd(ctx context.Context, by string, r UserEdit) (*User, error)
	UserEdit(ctx context.Context, by string, r UserEdit) (*User, error)
	Users(ctx context.Context) ([]User, error) // deleted ones too, by address
	User(ctx context.Context, address string) (*User, error)
	UserState(ctx context.Context, by string, r UserState) ([]User, error)
	UserPassword(ctx context.Context, by string, r UserPassword) (*UserPassword, error)
	UserCodes(ctx context.Context, by string, r UserSelect) (*UserSheets, error)
	UserLinks(ctx context.Context, by string, r UserSelect) ([]UserLink, error)
	UserInvite(ctx context.Context, by string, r UserSelect) ([]UserInvited, error)
	UserImport(ctx context.Context, by string, r UserImport) (*accounts.ImportResult, error)
	// UserExport writes CSV.
	UserExport(ctx context.Context, by string, r UserExport, w io.Writer) error
	UserReadiness(ctx context.Context) (*UserReadiness, error)
	Notices(ctx context.Context) ([]Notice, error)
	NoticeSet(ctx context.Context, by string, n Notice) (*Notice, error)
}

// UserEdit adds or changes a person.
type UserEdit struct {
	Address string        `json:"address"`
	Edit    accounts.Edit `json:"edit"`
}

// User is a person with all that is known of the ways in.
type User struct {
	accounts.Account
	Ready accounts.Ready `json:"ready"`
	Links []UserLink     `json:"links,omitempty"` // that can still be used, without their URLs

	Devices  []UserDevice  `json:"devices,omitempty"`
	Sessions []UserSession `json:"sessions,omitempty"` // where the person is signed in, the last used first
}

// UserDevice is a laptop or phone that signs in by itself.
type UserDevice struct {
	ID    string    `json:"id"`
	Kind  string    `json:"kind"` // passkey, key
	Name  string    `json:"name"`
	Made  time.Time `json:"made"`
	Used  time.Time `json:"used,omitzero"`
	Until time.Time `json:"until"`
}

// UserSession is one browser that is signed in.
type UserSession struct {
	Method  string    `json:"method"` // password, code, link, ...
	Agent   string    `json:"agent,omitempty"`
	Addr    string    `json:"addr,omitempty"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	Until   time.Time `json:"until"`
}

// UserState disables, enables, deletes, brings back or signs out people.
type UserState struct {
	Do        string   `json:"do"` // disable, enable, delete, undelete, sign-out
	Addresses []string `json:"addresses"`
	Devices   bool     `json:"devices,omitempty"` // with sign-out: take away their devices, too
	Second    bool     `json:"second,omitempty"`  // with sign-out: forget their second step, too
}

// UserPassword sets or takes away a password.
type UserPassword struct {
	Address  string `json:"address"`
	Password string `json:"password,omitempty"`
	Generate bool   `json:"generate,omitempty"` // the answer has it
	Forget   bool   `json:"forget,omitempty"`
}

// UserSelect says for whom: the addresses, all, or those without.
type UserSelect struct {
	Addresses []string `json:"addresses,omitempty"`
	All       bool     `json:"all,omitempty"`
	Missing   bool     `json:"missing,omitempty"` // who has none, or few left
	Void      bool     `json:"void,omitempty"`    // take away instead
	For       string   `json:"for,omitempty"`     // of links: how long they are good
	DryRun    bool     `json:"dry_run,omitempty"` // say who it would be
}

// UserSheets are codes just made.
type UserSheets struct {
	Sheets   []accounts.Sheet `json:"sheets"`
	Replaced int              `json:"replaced"` // people who had a sheet, which is void now
	URL      string           `json:"url"`      // of the webmail, "" when there is none
	Contact  string           `json:"contact,omitempty"`
	Language string           `json:"language,omitempty"`
}

// UserLink is a one-time link.
type UserLink struct {
	Address string    `json:"address"`
	Name    string    `json:"name,omitempty"`
	URL     string    `json:"url,omitempty"`
	Purpose string    `json:"purpose"`
	Until   time.Time `json:"until"`
	By      string    `json:"by,omitempty"`
}

// UserInvited says how it went with the mail to one person.
type UserInvited struct {
	Address string `json:"address"`
	Error   string `json:"error,omitempty"`
}

// UserImport is a file to import.
type UserImport struct {
	Format  string                 `json:"format"` // see accounts.Parse
	Domain  string                 `json:"domain,omitempty"`
	File    []byte                 `json:"file"`
	Options accounts.ImportOptions `json:"options,omitzero"`
}

// UserExport says what to export.
type UserExport struct {
	Hashes bool `json:"hashes,omitempty"`
}

// UserReadiness says who could sign in, and what lies here for nobody.
type UserReadiness struct {
	accounts.Readiness
	Outages   []string       `json:"outages"`             // domains with an open outage or drill: codes count there
	Unclaimed []AddressCount `json:"unclaimed,omitempty"` // addresses that got mail and that no account reads
}

// AddressCount is how many messages there are for an address.
type AddressCount struct {
	Address string `json:"address"`
	Count   int64  `json:"count"`
}

// Notice is the admin's words to staff.
type Notice struct {
	Domain string    `json:"domain,omitempty"` // "": for all
	Text   string    `json:"text,omitempty"`   // "" takes it back
	For    string    `json:"for,omitempty"`    // in requests: a duration
	Until  time.Time `json:"until,omitzero"`
	By     string    `json:"by,omitempty"`
	Set    time.Time `json:"set,omitzero"`
}

func (s *Server) userRoutes(mux *http.ServeMux) {
	b := s.backend
	handle(s, mux, "user/add", func(ctx context.Context, r UserEdit) (*User, error) { return b.UserAdd(ctx, who(ctx), r) })
	handle(s, mux, "user/edit", func(ctx context.Context, r UserEdit) (*User, error) { return b.UserEdit(ctx, who(ctx), r) })
	handle(s, mux, "user/list", func(ctx context.Context, _ none) ([]User, error) { return b.Users(ctx) })
	handle(s, mux, "user/show", func(ctx context.Context, r named) (*User, error) { return b.User(ctx, r.Name) })
	handle(s, mux, "user/state", func(ctx context.Context, r UserState) ([]User, error) { return b.UserState(ctx, who(ctx), r) })
	handle(s, mux, "user/password", func(ctx context.Context, r UserPassword) (*UserPassword, error) {
		return b.UserPassword(ctx, who(ctx), r)
	})
	handle(s, mux, "user/codes", func(ctx context.Context, r UserSelect) (*UserSheets, error) { return b.UserCodes(ctx, who(ctx), r) })
	handle(s, mux, "user/links", func(ctx context.Context, r UserSelect) ([]UserLink, error) { return b.UserLinks(ctx, who(ctx), r) })
	handle(s, mux, "user/invite", func(ctx context.Context, r UserSelect) ([]UserInvited, error) { return b.UserInvite(ctx, who(ctx), r) })
	handle(s, mux, "user/import", func(ctx context.Context, r UserImport) (*accounts.ImportResult, error) {
		return b.UserImport(ctx, who(ctx), r)
	})
	content(s, mux, "user/export", "text/csv; charset=utf-8", func(ctx context.Context, r UserExport, w io.Writer) error {
		return b.UserExport(ctx, who(ctx), r, w)
	})
	handle(s, mux, "user/readiness", func(ctx context.Context, _ none) (*UserReadiness, error) { return b.UserReadiness(ctx) })
	handle(s, mux, "notice/list", func(ctx context.Context, _ none) ([]Notice, error) { return b.Notices(ctx) })
	handle(s, mux, "notice/set", func(ctx context.Context, n Notice) (*Notice, error) { return b.NoticeSet(ctx, who(ctx), n) })
}

// UserAdd makes an account.
func (c *Client) UserAdd(ctx context.Context, r UserEdit) (*User, error) {
	return call[*User](ctx, c, "user/add", r)
}

// UserEdit changes one.
func (c *Client) UserEdit(ctx context.Context, r UserEdit) (*User, error) {
	return call[*User](ctx, c, "user/edit", r)
}

// Users lists accounts, deleted ones too.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	return call[[]User](ctx, c, "user/list", none{})
}

// User tells all about one.
func (c *Client) User(ctx context.Context, address string) (*User, error) {
	return call[*User](ctx, c, "user/show", named{Name: address})
}

// UserState disables, enables, deletes, brings back or signs out.
func (c *Client) UserState(ctx context.Context, r UserState) ([]User, error) {
	return call[[]User](ctx, c, "user/state", r)
}

// UserPassword sets or takes away a password.
func (c *Client) UserPassword(ctx context.Context, r UserPassword) (*UserPassword, error) {
	return call[*UserPassword](ctx, c, "user/password", r)
}

// UserCodes makes codes on paper.
func (c *Client) UserCodes(ctx context.Context, r UserSelect) (*UserSheets, error) {
	return call[*UserSheets](ctx, c, "user/codes", r)
}

// UserLinks makes one-time links.
func (c *Client) UserLinks(ctx context.Context, r UserSelect) ([]UserLink, error) {
	return call[[]UserLink](ctx, c, "user/links", r)
}

// UserInvite mails practice links.
func (c *Client) UserInvite(ctx context.Context, r UserSelect) ([]UserInvited, error) {
	return call[[]UserInvited](ctx, c, "user/invite", r)
}

// UserImport imports a file.
func (c *Client) UserImport(ctx context.Context, r UserImport) (*accounts.ImportResult, error) {
	return call[*accounts.ImportResult](ctx, c, "user/import", r)
}

// UserExport writes CSV.
func (c *Client) UserExport(ctx context.Context, r UserExport, w io.Writer) error {
	return c.body(ctx, "user/export", r, w)
}

// UserReadiness says who could sign in.
func (c *Client) UserReadiness(ctx context.Context) (*UserReadiness, error) {
	return call[*UserReadiness](ctx, c, "user/readiness", none{})
}

// Notices lists the notices in force.
func (c *Client) Notices(ctx context.Context) ([]Notice, error) {
	return call[[]Notice](ctx, c, "notice/list", none{})
}

// NoticeSet sets or takes back a notice.
func (c *Client) NoticeSet(ctx context.Context, n Notice) (*Notice, error) {
	return call[*Notice](ctx, c, "notice/set", n)
}
