package config

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// Socket is the admin socket that a configuration names, however broken the rest of it is: a node goes on with what it
// read before, and on a bad day it has to be found all the same. Of a file that is no TOML the lines before the fault
// count. "" says that it can't be read.
func Socket(path string) string {
	files, err := list(path)
	if err != nil {
		return ""
	}
	socket, dir := "", Defaults().DataDir
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
			dir = t.DataDir
		}
		if t.Admin.Socket != "" {
			socket = t.Admin.Socket
		}
	}
	if socket == "" {
		socket = filepath.Join(dir, "admin.sock")
	}
	return socket
}

// sound is the text up to the first line that is no TOML. A bracket or quote that is never closed shows only lines later.
func sound(text string) string {
	var all map[string]any
	_, err := toml.Decode(text, &all)
	parse, ok := errors.AsType[toml.ParseError](err)
	if !ok {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for n := min(parse.Position.Line, len(lines)); n > 0; n-- {
		some := strings.Join(lines[:n], "")
		if _, err := toml.Decode(some, &all); err == nil {
			return some
		}
	}
	return ""
}
