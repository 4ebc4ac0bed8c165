package health

import "testing"

func TestHosts(t *testing.T) {
	for key, want := range map[string]string{
		"127.0.0.1:2600/xforward":                             "127.0.0.1:2600",
		"mail.example.com:25/required/ab:cd,[2001:db8::1]:25": "mail.example.com:25,[2001:db8::1]:25",
		"mail.example.com:25/required//etc/ssl/ca.pem":        "mail.example.com:25",
		"mx:example.com":                                      "mx:example.com",
	} {
		if got := Hosts(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	a, b := &set{key: "h:25/required"}, &set{key: "h:25/xforward"}
	taken := map[string]bool{}
	if x, y := a.setLabel(taken), b.setLabel(taken); x != "h:25" || y != b.key {
		t.Errorf("%s, %s", x, y)
	}
}
