package smtpd

import "testing"

func TestProve(t *testing.T) {
	if err := prove(); err != nil {
		t.Fatal(err)
	}
}
