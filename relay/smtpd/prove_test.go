package smtpd

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProve(t *testing.T) {
	if err := prove(); err != nil {
		t.Fatal(err)
	}
}
