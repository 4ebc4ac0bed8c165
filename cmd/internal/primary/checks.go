package primary

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/spool"
)

// failed reports an error of smtpc.
func (h *host) failed(check string, at Stage, err error) {
	var e *smtpc.Error
	if errors.As(err, &e) && !e.Reply.IsZero() {
		h.refused(check, at, e.Reply)
		return
	}
	h.row(check, Fail, Lost, "%s", spool.Printable(err.Error()))
}

// refused reports a reply that isn't 2xx.
func (h *host) refused(check string, at Stage, r reply.Reply) {
	res, verb := Fail, "refused"
	if r.Transient() {
		verb = "put off"
	}
	p := Classify(at, r)
	if p == NullMX {
		res = Warn
	}
	h.row(check, res, p, "%s: %s", verb, spool.Printable(r.String()))
}

// offers looks at what EHLO announces.
func (h *host) offers(o smtpc.Offers) {
	switch {
	case o.TLSFailed != "":
		h.row("TLS", Warn, TLS, "offered, and doesn't work: %s; mail goes in plain", spool.Printable(o.TLSFailed))
	case o.TLS == "":
		h.row("TLS", Warn, TLS, "not offered: mail goes in plain")
	case o.Verified == "":
		h.row("TLS", Note, "", "%s: nobody reads along, but anybody could pose as it; tls = \"required\" with tls_fingerprints or tls_ca mends that", o.Protection())
	default:
		h.row("TLS", OK, "", "%s", o.Protection())
	}
	switch {
	case o.Size == 0:
		h.row("SIZE", OK, "", "no limit is said")
	case o.Size < h.MaxSize:
		h.row("SIZE", Note, Size, "%s; we take %s, but of what is greater nothing while it says so", spool.Octets(o.Size), spool.Octets(h.MaxSize))
	default:
		h.row("SIZE", OK, "", "%s", spool.Octets(o.Size))
	}
	for _, x := range []struct {
		name    string
		offered bool
		without string
	}{
		{"PIPELINING", o.Pipelining, "each message takes more round trips"},
		{"CHUNKING", o.Chunking, "messages with lone CR or LF can't be handed over octet by octet"},
		{"8BITMIME", o.EightBitMIME, "8-bit mail is handed over as it is, unannounced"},
		{"SMTPUTF8", o.SMTPUTF8, "mail that needs it is refused with 553 5.6.7, here too"},
		{"DSN", o.DSN, "senders can't ask for delivery reports, here either"},
	} {
		if x.offered {
			h.row(x.name, OK, "", "offered")
		} else {
			h.row(x.name, Note, "", "not offered: %s", x.without)
		}
	}
}

// origin says how the primary learns who the real client is.
func (h *host) origin(o smtpc.Offers) {
	switch {
	case h.target.XClient && len(o.XClient) > 0:
		h.row("origin", OK, "", "XCLIENT: it judges and logs the real client")
	case h.target.XClient:
		h.row("origin", Warn, Origin, "origin = \"xclient\" is configured, and it doesn't offer XCLIENT to us")
	case len(o.XClient) > 0:
		h.row("origin", Note, "", "it offers XCLIENT: with origin = \"xclient\" it would judge and log the real client")
	case h.target.XForward && len(o.XForward) > 0:
		h.row("origin", OK, "", "XFORWARD: its log names the real client")
	default:
		h.row("origin", Note, Origin, "neither XCLIENT nor XFORWARD is offered: only our Received field names the real client")
	}
}

// recipients asks for some, and sends nothing. It reports whether the test message can be sent.
func (h *host) recipients(ctx context.Context) bool {
	r, err := h.conn.Mail(ctx, smtpc.Mail{})
	if err != nil || !r.Positive() {
		h.said("null sender", AtSender, r, err)
		return err == nil
	}
	to := h.report.To
	r, err = h.ask(ctx, to)
	goOn := err == nil && r.Positive()
	switch {
	case err != nil:
		h.failed(to, AtRcpt, err)
		return h.dial(ctx, to) && false
	case r.Permanent() && Classify(AtRcpt, r) == Recipient && h.To == "":
		h.row(to, Warn, Postmaster, "refused: %s; say --to with an address that it has, for the test message", spool.Printable(r.String()))
	case !r.Positive():
		h.refused(to, AtRcpt, r)
		goOn = r.Transient() // greylisting may let the real sender in
	default:
		h.row(to, OK, "", "taken")
	}
	if len(h.Known) > 0 {
		if r, err = h.ask(ctx, h.Known[0]); err != nil || !r.Positive() {
			h.said("known recipient", AtRcpt, r, err)
		} else {
			h.row("known recipient", OK, "", "%s is taken", h.Known[0])
		}
	}
	switch r, err = h.ask(ctx, h.newAddress()); {
	case err != nil:
		h.failed("unknown recipient", AtRcpt, err)
	case r.Positive():
		h.row("unknown recipient", Note, CatchAll, "taken: it has any recipient, or looks later")
	case r.Permanent():
		h.row("unknown recipient", OK, "", "refused: %s", spool.Printable(r.String()))
	default:
		h.row("unknown recipient", Note, "", "put off: %s", spool.Printable(r.String()))
	}
	if h.conn.Reset(ctx) != nil {
		return h.dial(ctx, "connect again") && goOn
	}
	return goOn
}

func (h *host) ask(ctx context.Context, address string) (reply.Reply, error) {
	return h.conn.Rcpt(ctx, smtpc.Rcpt{Address: address})
}

// said reports whichever of reply and error there is.
func (h *host) said(check string, at Stage, r reply.Reply, err error) {
	if err != nil {
		h.failed(check, at, err)
		return
	}
	h.refused(check, at, r)
}

// message sends the test message as replay would, under the name of a stranger.
func (h *host) message(ctx context.Context) {
	const check = "mail of others"
	from := h.report.From
	at, r, err := h.send(ctx, from, &smtpc.Origin{Addr: Stranger(), Helo: "restante-test." + domainOf(from), Protocol: "ESMTP"})
	told := h.xclient()
	p := Classify(at, r)
	switch {
	case err != nil:
		var e *smtpc.Error
		if told && errors.As(err, &e) && e.AboutClient() {
			h.row(check, OK, "", "it was told of a client that may not send for %s, and refuses that: %s", domainOf(from), spool.Printable(e.Reply.String()))
			break
		}
		h.failed(check, at, err)
	case r.Positive():
		h.row(check, OK, "", "it took a message from %s, whose domain lets nobody send: %s", from, spool.Printable(r.String()))
	case told && (p == SPF || p == DMARC):
		h.row(check, OK, "", "it was told of a client that may not send for %s, and refuses that: %s", domainOf(from), spool.Printable(r.String()))
	default:
		h.refused(check, at, r)
	}
	if told {
		h.withheld(ctx)
	}
	h.dial(ctx, "connect again")
}

// withheld sends the message again, from nobody: what has no client that may be named goes out under our own name.
func (h *host) withheld(ctx context.Context) {
	const check = "our own mail"
	if !h.dial(ctx, check) {
		return
	}
	if at, r, err := h.send(ctx, "", &smtpc.Origin{}); err != nil || !r.Positive() {
		h.said(check, at, r, err)
	} else {
		h.row(check, OK, "", "it took a message under our own name, as those of private clients and of people here go out: %s", spool.Printable(r.String()))
	}
}

func (h *host) xclient() bool { return h.target.XClient && len(h.conn.Offers().XClient) > 0 }

// send sends the test message and says at which stage the reply came.
func (h *host) send(ctx context.Context, from string, o *smtpc.Origin) (Stage, reply.Reply, error) {
	body := h.text(from, o)
	switch {
	case h.xclient():
		if err := h.conn.XClient(ctx, o); err != nil {
			return AtConnect, reply.Reply{}, err
		}
	case h.target.XForward && len(h.conn.Offers().XForward) > 0:
		if err := h.conn.XForward(ctx, o); err != nil {
			return AtConnect, reply.Reply{}, err
		}
	}
	r, err := h.conn.Mail(ctx, smtpc.Mail{From: from, Size: int64(len(body))})
	if err != nil || !r.Positive() {
		return AtSender, r, err
	}
	if r, err = h.ask(ctx, h.report.To); err != nil || !r.Positive() {
		return AtRcpt, r, err
	}
	r, err = h.conn.Data(ctx, strings.NewReader(body), int64(len(body)))
	return AtMessage, r, err
}

// many asks for the same recipient again and again, as many messages to it would.
func (h *host) many(ctx context.Context) {
	const check = "many messages"
	for i := range burst {
		at := AtSender
		r, err := h.conn.Mail(ctx, smtpc.Mail{})
		if err == nil && r.Positive() {
			at = AtRcpt
			r, err = h.ask(ctx, h.report.To)
		}
		if err == nil {
			err = h.conn.Reset(ctx)
		}
		switch {
		case err != nil:
			h.failed(check, at, fmt.Errorf("after %d: %w", i, err))
			h.dial(ctx, "connect again")
			return
		case Classify(at, r) == Rate && !r.Positive():
			h.row(check, Fail, Rate, "after %d: %s", i, spool.Printable(r.String()))
			return
		case !r.Positive():
			return // its reason stands above
		}
	}
	h.row(check, OK, "", "%d in a row", burst)
}

// together holds as many connections as replay may open.
func (h *host) together(ctx context.Context) {
	const check = "many connections"
	want := min(max(h.Connections, 1), maxHolding)
	conns, errs := make([]*smtpc.Conn, want), make([]error, want)
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() { conns[i], errs[i] = h.Dialer.Dial(ctx, h.target) })
	}
	wg.Wait()
	got := 0
	for _, c := range conns {
		if c != nil {
			got++
			wg.Go(c.Quit)
		}
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			res := Warn
			if got == 0 {
				res = Fail
			}
			h.row(check, res, Rate, "%d of %d at a time, which is what replay may open; then: %s", got, want, spool.Printable(err.Error()))
			return
		}
	}
	h.row(check, OK, "", "%d at a time, as many as replay may open", want)
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
