package config

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// Socket is the admin socket that a configuration names, however broken the rest of it is: a node goes on with what it
// read before, and on a bad day it has to be found all the same. Of a file that is no TOML the other
// lines count. "" says that it can't be read.
func Socket(path string) string {
	files, err := list(path)
	if err != nil {
		return ""
	}
	socket, dir, d := "", Defaults().DataDir, decoder{folder: filepath.Dir(path)}
	for _, file := range files {
		text, err := read(file)
		if err != nil {
			continue
		}
		var t struct {
			DataDir string                  `toml:"data_dir"`
			Admin   struct{ Socket string } `toml:"admin"`
		}
		if _, err := toml.Decode(sound(string(text)), &t); err != nil {
			continue
		}
		if t.DataDir != "" {
			dir = d.path(t.DataDir)
		}
		if t.Admin.Socket != "" {
			socket = d.path(t.Admin.Socket)
		}
	}
	if socket == "" {
		socket = filepath.Join(dir, "admin.sock")
	}
	return socket
}

// sound is the text without the lines that make it no TOML, or what stands before them where they are too many.
func sound(text string) string {
	lines := strings.SplitAfter(text, "\n")
	first := len(lines)
	for range 20 {
		some := strings.Join(lines, "")
		var all map[string]any
		_, err := toml.Decode(some, &all)
		parse, ok := errors.AsType[toml.ParseError](err)
		if !ok {
			return some
		}
		n := min(max(1, parse.Position.Line), len(lines))
		for n > 1 && strings.TrimSpace(lines[n-1]) == "" {
			n-- // a bracket that is never closed shows only lines later
		}
		first = min(first, n-1)
		lines[n-1] = "\n"
	}
	return strings.Join(lines[:first], "")
}
