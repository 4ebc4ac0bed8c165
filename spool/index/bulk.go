package index

import (
	"context"
	"database/sql"
	"strings"
)

// bulkRows is how many rows one statement carries: most of what a row costs is the call itself.
const bulkRows = 32

// bulk gathers rows and writes them by statements of many rows.
type bulk struct {
	x      *Index
	insert string // up to VALUES
	tuple  string // "(?,?)"
	args   []any
	width  int
}

func (x *Index) newBulk(insert string, width int) *bulk {
	return &bulk{x: x, insert: insert, width: width, tuple: "(?" + strings.Repeat(",?", width-1) + ")"}
}

func (b *bulk) add(ctx context.Context, args ...any) error {
	b.args = append(b.args, args...)
	if len(b.args) < bulkRows*b.width {
		return nil
	}
	_, err := b.x.exec(ctx, b.insert+b.tuple+strings.Repeat(","+b.tuple, bulkRows-1), b.args...)
	b.args = b.args[:0]
	return err
}

func (b *bulk) flush(ctx context.Context) error {
	for i := 0; i < len(b.args); i += b.width {
		if _, err := b.x.exec(ctx, b.insert+b.tuple, b.args[i:i+b.width]...); err != nil {
			return err
		}
	}
	b.args = b.args[:0]
	return nil
}

// lookup asks "WITH k(<columns>) AS (VALUES ...) <query>" for many keys at once.
func (x *Index) lookup(ctx context.Context, columns, query string, width int, args []any, f func(*sql.Rows) error) error {
	tuple := "(?" + strings.Repeat(",?", width-1) + ")"
	for len(args) > 0 {
		n := 1
		if len(args) >= bulkRows*width {
			n = bulkRows
		}
		s, err := x.stmt(ctx, "WITH k("+columns+") AS (VALUES "+tuple+strings.Repeat(","+tuple, n-1)+") "+query)
		if err != nil {
			return err
		}
		rows, err := s.QueryContext(ctx, args[:n*width]...)
		if err != nil {
			return err
		}
		if err := drain(rows, f); err != nil {
			return err
		}
		args = args[n*width:]
	}
	return nil
}
