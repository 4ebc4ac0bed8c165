package accounts

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"restante/spool"
)

// Field names one kind of register of an account; the package comment says what each holds.
type Field string

// The fields.
const (
	FieldAccount   Field = "account"
	FieldDisabled  Field = "disabled"
	FieldName      Field = "name"
	FieldLanguage  Field = "language"
	FieldZone      Field = "zone"
	FieldSignature Field = "signature"
	FieldPassword  Field = "password"
	FieldCodes     Field = "codes"
	FieldPractised Field = "practised"
	FieldAlias     Field = "alias"
	FieldShared    Field = "shared"
	FieldGroup     Field = "group"
	FieldCodeUsed  Field = "code-used"
	FieldLink      Field = "link"
	FieldLinkUsed  Field = "link-used"
	FieldDevice    Field = "device"
	FieldPasskey   Field = "passkey"
	FieldTOTP      Field = "totp"
	FieldGone      Field = "device-removed" // id of a device or passkey: value true; it beats a use that is recorded later
	FieldLearned   Field = "learned"
)

// Change is one change of one register. With neither Value nor Secret it empties it.
type Change struct {
	Account string // main address
	Field   Field
	Key     string
	Value   any       // what encoding/json takes
	Secret  []byte    // encrypted before it is recorded
	Until   time.Time // when the content stops to count; zero: never
}

// Register is the content of a register.
type Register struct {
	Account string
	Field   Field
	Key     string
	Value   json.RawMessage // nil: none
	Until   time.Time
	Time    time.Time // of the event
	By      string

	id     string
	secret string
}

// Decode decodes the value.
func (r Register) Decode(into any) error {
	if r.Value == nil {
		return errors.New("no value")
	}
	return json.Unmarshal(r.Value, into)
}

// HasSecret reports that Directory.Reveal has something to reveal.
func (r Register) HasSecret() bool { return r.secret != "" }

// empty: forgotten.
func (r Register) empty() bool { return r.Value == nil && r.secret == "" }

// over: its time has passed.
func (r Register) over(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

// newer says that r wins over old.
func (r Register) newer(old Register) bool {
	if !r.Time.Equal(old.Time) {
		return r.Time.After(old.Time)
	}
	return r.id > old.id
}

// purpose binds a secret to its register.
func purpose(account string, f Field, key string) string {
	return "account/" + account + "/" + string(f) + "/" + key
}

// fromEvent reads an event; false when it is not one of ours.
func fromEvent(ev spool.Event) (Register, bool) {
	if ev.Type != spool.AccountChanged || ev.Address == "" {
		return Register{}, false
	}
	field, _ := ev.Data["field"].(string)
	key, _ := ev.Data["key"].(string)
	text, _ := ev.Data["secret"].(string)
	if field == "" {
		return Register{}, false
	}
	r := Register{Account: ev.Address, Field: Field(field), Key: key, Until: ev.Until, Time: ev.Time, By: ev.By, id: ev.ID, secret: text}
	if v, ok := ev.Data["value"]; ok && v != nil {
		b, err := json.Marshal(v)
		if err != nil {
			return Register{}, false
		}
		r.Value = b
	}
	return r, true
}

// event makes the event of a change.
func (d *Directory) event(by string, c Change, at time.Time) (spool.Event, error) {
	data := map[string]any{"field": string(c.Field)}
	if c.Key != "" {
		data["key"] = c.Key
	}
	if c.Value != nil {
		data["value"] = c.Value
	}
	if c.Secret != nil {
		if d.o.Secrets == nil {
			return spool.Event{}, errors.New("no cluster key: secrets can't be kept")
		}
		text, err := d.o.Secrets.Encrypt(purpose(c.Account, c.Field, c.Key), c.Secret)
		if err != nil {
			return spool.Event{}, fmt.Errorf("encrypting %s: %w", c.Field, err)
		}
		data["secret"] = text
	}
	return spool.Event{ID: spool.NewID(), Time: at, Type: spool.AccountChanged, By: by, Address: c.Account, Until: c.Until, Data: data}, nil
}
