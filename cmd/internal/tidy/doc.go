// Package tidy holds the house rules as tests: which package may import which, that every package says what
// it is for, and how long a function and a file may be.
package tidy
