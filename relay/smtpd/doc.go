// Package smtpd takes mail in: an SMTP server (RFC 5321) with STARTTLS, PIPELINING, SIZE, 8BITMIME,
// SMTPUTF8, CHUNKING, DSN and ENHANCEDSTATUSCODES, that hands whole, checked messages to a Handler and sends the
// Handler's replies as they are.
//
// The protocol's state machine is go-smtp's. It is kept on a short lead: each connection has a go-smtp server of
// its own, which talks to a wire instead of the network. The wire gives it one command at a time, checked and in one
// spelling, reads the messages itself, does TLS beneath it, and rewrites its replies. What the
// library has been seen to do (v0.25.1), and what answers it:
//
//	 1 BDAT cut short in its last chunk is committed     never sees BDAT: wire.readChunks. Dialogues bdat-cut-*
//	 2 a message after a read timeout becomes commands   wire.err is sticky. TestSlowMessage
//	 3 ReadTimeout covers the whole of DATA              unused: wire.more, wire.readLine. TestIdle, TestSlow*
//	 4 an error of a Handler becomes 554 with its text   only *SMTPError is returned: wireError. TestTempFileFails
//	 5 MaxLineLength counts in DATA                      unused: Limits.MessageLine. line-message
//	 6 and in BDAT                                       the same
//	 7 bare CR, LF in messages and commands              intake, wire.judge. bare-*, smuggle-*, TestEndOfData
//	 9 a second MAIL is accepted                         session.Mail. nested-mail
//	10 quoted local parts lose their quotes              paths are read by mailaddr; it gets a stand-in. quoted-*
//	11 RCPT TO:<Postmaster> is refused                   the same. postmaster
//	12 REQUIRETLS in plain text, non-ASCII, controls     wire.fit, session, wire.judge. requiretls*, utf8-*, nul-command
//	13 a failed handshake leaves the plain session       wire.handshake. starttls-failed
//	14 Shutdown waits for idle connections               wire.drain. TestShutdown*
//	15 Reset while Data runs in a goroutine              no such goroutine without its BDAT. bdat-rset
//	16 a message of exactly the limit is refused, the    intake counts, and gives up at twice the limit. size-*,
//	   rest of an oversize one read without end          bdat-huge
//	17 only bad commands count as errors                 Limits.RefusedRecipients. limit-*
//	18 after a BDAT that was given up the next message   never sees BDAT. bdat-rset with -race
//	   may get its result (a data race)
//	19 dot at the end after CR CR LF is never seen       never reads messages. crcrlf-before-end
//	20 multi-line replies have one enhanced code         reply.Append. replies
//	21 four unknown commands close the connection        never sees them: wire.check. limit-errors
//	22 502 for commands out of order, 500 for unknown    wire.answer: 503, 555. order, params-unknown
//	   parameters
//
// DELIVERBY, MT-PRIORITY and BINARYMIME stay off. New runs a dialogue (prove) that fails when a new version of the
// library behaves otherwise in what all this relies on.
//
// A message is refused with 554 5.6.0 if a CR or an LF stands alone in it, wherever, and if it begins with a blank; NUL is passed on. Octets that
// come in one segment with DATA or STARTTLS, without waiting for the reply, close the connection (RFC 2920 3.1).
//
// Who connects too often, sends too much or asks for people who aren't there is told to come back later (package rate, harvest.go);
// a flood of them doesn't fill the log (refusals.go). When sessions run out, those that are idle go (crowd.go). Load balancers that are named say by the PROXY protocol for whom they
// connect (proxy.go); anybody else's PROXY line is a bad command.
package smtpd
