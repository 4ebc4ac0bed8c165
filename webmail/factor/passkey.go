package factor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"restante/webmail/accounts"
)

const (
	ceremonyTime = 5 * time.Minute // from the options to the browser's answer
	maxAnswer    = 64 << 10        // octets of the browser's answer
)

// Site is where a passkey is good: its host name is the relying party's id (WebAuthn 5.1.2), and its origin is what
// browsers sign. An IP address can't have passkeys.
type Site struct {
	Host   string // "mail.example.net", or "localhost"
	Origin string // "https://mail.example.net"
	Name   string // shown by the browser
}

func (s Site) party() (*webauthn.WebAuthn, error) {
	terms := webauthn.TimeoutConfig{Enforce: true, Timeout: ceremonyTime, TimeoutUVD: ceremonyTime}
	return webauthn.New(&webauthn.Config{
		RPID: s.Host, RPDisplayName: s.Name, RPOrigins: []string{s.Origin},
		AttestationPreference: protocol.PreferNoAttestation, // which make of device it is, is nobody's business
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationPreferred,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: terms, Registration: terms},
	})
}

// handle is the user handle of an account: no personal data (WebAuthn 14.6.1), the same on every node.
func handle(account string) []byte {
	sum := sha256.Sum256([]byte("restante account " + account))
	return sum[:]
}

// user shows an account to package webauthn.
type user struct {
	account, name string
	credentials   []webauthn.Credential
}

func (u user) WebAuthnID() []byte                         { return handle(u.account) }
func (u user) WebAuthnName() string                       { return u.account }
func (u user) WebAuthnDisplayName() string                { return u.name }
func (u user) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// user returns the account with its passkeys.
func (f *Factors) user(account string) user {
	u := user{account: account, name: account}
	if a, ok := f.dir.Account(account); ok {
		u.name = a.Label()
	}
	for _, r := range f.dir.Registers(account, accounts.FieldPasskey) {
		if _, k, ok := f.device(r); ok && k.Credential != nil {
			u.credentials = append(u.credentials, *k.Credential)
		}
	}
	return u
}

// Passkeys says whether the account has a passkey for the host.
func (f *Factors) Passkeys(account, host string) bool {
	for _, d := range f.Devices(account) {
		if d.Kind == Passkey && d.Site == host {
			return true
		}
	}
	return false
}

// BeginPasskey starts making a passkey: options are the JSON for the browser's navigator.credentials.create, state is
// for FinishPasskey and must not be changed by the browser.
func (f *Factors) BeginPasskey(site Site, account string) (options, state []byte, err error) {
	if len(f.Devices(account)) >= MaxDevices {
		return nil, nil, ErrTooMany
	}
	party, err := site.party()
	if err != nil {
		return nil, nil, err
	}
	u := f.user(account)
	creation, data, err := party.BeginRegistration(u, webauthn.WithExclusions(webauthn.Credentials(u.credentials).CredentialDescriptors()))
	if err != nil {
		return nil, nil, err
	}
	return both(creation.Response, data)
}

// FinishPasskey keeps the passkey that the browser made. ErrWrong: the answer doesn't fit; the text says how.
func (f *Factors) FinishPasskey(ctx context.Context, site Site, account, name string, state, answer []byte) (Device, error) {
	party, data, err := f.resume(site, state, answer)
	if err != nil {
		return Device{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return Device{}, wrong(err)
	}
	c, err := party.CreateCredential(f.user(account), data, parsed)
	if err != nil {
		return Device{}, wrong(err)
	}
	id := base64.RawURLEncoding.EncodeToString(c.ID)
	if _, taken := f.dir.Find(accounts.FieldPasskey, id); taken {
		return Device{}, fmt.Errorf("%w: this passkey is in use", ErrWrong) // WebAuthn 7.1, step 26
	}
	c.Attestation = webauthn.CredentialAttestation{} // none was asked for; it is large
	now := time.Now().UTC()
	k := kept{Name: nameOf(name), Site: site.Host, Made: now, Credential: c}
	change := accounts.Change{Account: account, Field: accounts.FieldPasskey, Key: id, Value: k, Until: now.Add(Term)}
	if err := f.dir.Record(ctx, account, change); err != nil {
		return Device{}, err
	}
	return Device{ID: id, Account: account, Kind: Passkey, Name: k.Name, Site: k.Site, Made: now, Until: change.Until}, nil
}

// BeginSignIn starts a sign-in by any passkey of the site: options are for navigator.credentials.get.
func (f *Factors) BeginSignIn(site Site) (options, state []byte, err error) {
	party, err := site.party()
	if err != nil {
		return nil, nil, err
	}
	assertion, data, err := party.BeginDiscoverableLogin()
	if err != nil {
		return nil, nil, err
	}
	return both(assertion.Response, data)
}

// FinishSignIn returns the device whose passkey answered, and whether it has verified the person (by a finger, a face
// or a PIN), which makes it two factors in one. The device's term is renewed. ErrWrong: the answer isn't of a passkey that is good now.
func (f *Factors) FinishSignIn(site Site, state, answer []byte) (d Device, verified bool, err error) {
	party, data, err := f.resume(site, state, answer)
	if err != nil {
		return Device{}, false, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Device{}, false, wrong(err)
	}
	var r accounts.Register
	var k kept
	owner := func(rawID, userHandle []byte) (webauthn.User, error) {
		var ok bool
		if r, ok = f.dir.Find(accounts.FieldPasskey, base64.RawURLEncoding.EncodeToString(rawID)); !ok {
			return nil, errors.New("unknown passkey")
		}
		if d, k, ok = f.device(r); !ok || !bytes.Equal(userHandle, handle(r.Account)) {
			return nil, errors.New("removed passkey")
		}
		return f.user(r.Account), nil
	}
	c, err := party.ValidateDiscoverableLogin(owner, data, parsed)
	if err != nil {
		return Device{}, false, wrong(err)
	}
	if c.Authenticator.CloneWarning {
		return Device{}, false, fmt.Errorf("%w: the passkey's counter went back, it may have been copied", ErrWrong)
	}
	c.Attestation = webauthn.CredentialAttestation{}
	counted := c.Authenticator.SignCount != k.Credential.Authenticator.SignCount
	k.Credential = c
	if counted {
		k.Used = time.Time{} // the counter is kept at each use
	}
	if err := f.renew(r, k); err != nil {
		return Device{}, false, err
	}
	return d, parsed.Response.AuthenticatorData.Flags.HasUserVerified(), nil
}

// both returns the options and the state of a ceremony as JSON.
func both(response any, data *webauthn.SessionData) (options, state []byte, err error) {
	options, err = json.Marshal(response)
	if err != nil {
		return nil, nil, err
	}
	state, err = json.Marshal(data)
	return options, state, err
}

// resume reads a ceremony's state and spends its challenge: no answer counts twice.
func (f *Factors) resume(site Site, state, answer []byte) (*webauthn.WebAuthn, webauthn.SessionData, error) {
	var data webauthn.SessionData
	if len(answer) > maxAnswer {
		return nil, data, wrong(errors.New("the answer is too long"))
	}
	if err := json.Unmarshal(state, &data); err != nil {
		return nil, data, wrong(err)
	}
	party, err := site.party()
	if err != nil {
		return nil, data, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for c, until := range f.spent {
		if now.After(until) {
			delete(f.spent, c)
		}
	}
	if _, again := f.spent[data.Challenge]; again {
		return nil, data, wrong(errors.New("this was answered before"))
	}
	f.spent[data.Challenge] = now.Add(ceremonyTime)
	return party, data, nil
}

// wrong is ErrWrong with the cause for the log.
func wrong(err error) error {
	var p *protocol.Error
	if errors.As(err, &p) && p.DevInfo != "" {
		return fmt.Errorf("%w: %s: %s", ErrWrong, p.Details, p.DevInfo)
	}
	return fmt.Errorf("%w: %w", ErrWrong, err)
}
