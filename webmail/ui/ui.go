// Package ui holds the webmail's templates, style sheet, scripts and icons as they are embedded in the program.
//
// layout.html is the frame of every page; pages/<name>.html defines the templates "title" and "main" of one;
// parts/<name>.html what several share. static is served as it is, compressed once, under names with a hash.
// There is no build step: what is here is what browsers get.
package ui

import "embed"

// Files are layout.html, pages, parts and static.
//
//go:embed layout.html pages parts static
var Files embed.FS
