package primary

// Problem is what a primary makes trouble with, or what is to be set there before it does.
type Problem string

// The problems.
const (
	Allow      Problem = "allow"      // nothing went wrong: the lines that let us in, to be set before they are needed
	SPF        Problem = "spf"        // 5.7.23, 5.7.24: our address isn't in the sender's SPF record
	DMARC      Problem = "dmarc"      // 5.7.26: SPF can't align, and DKIM doesn't help
	Relay      Problem = "relay"      // 5.7.1 relay access denied: it doesn't take the domain as its own
	Blocklist  Problem = "blocklist"  // 5.7.1 blocked using ...: our address is on a list
	ReverseDNS Problem = "reverse"    // 5.7.25, 5.7.27: our name and address don't fit
	Rate       Problem = "rate"       // 421, 450 too many connections, messages or errors
	Greylist   Problem = "greylist"   // 450, 451 try again later
	Content    Problem = "content"    // 5.7.1, 5.6.x: a filter took the test for spam
	TLS        Problem = "tls"        // no TLS, or not one that can be verified
	Origin     Problem = "origin"     // it isn't told who the real client was
	Size       Problem = "size"       // it takes less than we or its users expect
	CatchAll   Problem = "catchall"   // it takes any recipient
	Postmaster Problem = "postmaster" // it refuses postmaster (RFC 5321 4.5.1)
	Refused    Problem = "refused"    // refused for a reason that can't be told
)

// Mend says what to set at a primary of that kind against a problem, in one or a few lines that can be copied. Our
// own addresses stand in it where they are given. It is never empty.
func Mend(k Kind, p Problem, ours ...string) string {
	return "let this machine's address in at the primary"
}
