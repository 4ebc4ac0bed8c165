// Package e2e holds the whole-program scenarios: the real restante, killed and started as a host would be, between
// a real Postfix that sends and a real Postfix that is the primary. They are skipped where Postfix isn't
// installed, unless RESTANTE_TEST_REQUIRE=1 is set, and with -short.
//
// TestChaos lasts as long as RESTANTE_TEST_CHAOS says ("10m"), 30 s by default, and prints the seed with which
// RESTANTE_TEST_SEED repeats its steps; RESTANTE_TEST_LOG=1 prints these. When it is asked to last, the half-restored primary
// is also given the five minutes after which a replay that paused tries again by itself.
package e2e
