// Package e2e holds the whole-program scenarios: the real restante, killed and started as a host would be, between
// a real Postfix that sends and a real Postfix that is the primary. They are skipped where Postfix isn't
// installed, unless RESTANTE_TEST_REQUIRE=1 is set, and with -short.
package e2e
