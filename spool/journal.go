package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	segmentMax   = 4 << 20   // a segment takes no more events beyond that
	segmentClear = 256 << 10 // a segment all of whose events are durable is emptied beyond that
)

// journal holds outcomes of deliveries from the moment they are known until the ledger has them. It is a
// folder of numbered segments of lines: eight hex digits, the CRC-32C of the rest; a space; the event as JSON. A line is written
// with one write(2), so it outlives the process, and is never synced: after a power failure the deliveries of the
// last moment may be repeated.
type journal struct {
	dir string
	log *slog.Logger

	mu       sync.Mutex
	file     *os.File // of active, nil: none is open
	active   *segment
	next     uint64 // number of the next segment
	segments []*segment
}

// segment is one file of the journal.
type segment struct {
	path string
	size int64
	open int  // events that are not yet known to be in the ledger
	full bool // no longer written
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal reads what the last process left. For each event the segment is to be told when it is durable.
func openJournal(dir string, log *slog.Logger) (j *journal, left map[*segment][]Event, damaged int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, 0, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, 0, err
	}
	j = &journal{dir: dir, log: log}
	left = map[*segment][]Event{}
	for _, f := range files {
		n, err := strconv.ParseUint(strings.TrimSuffix(f.Name(), ".jsonl"), 10, 64)
		if err != nil {
			continue
		}
		j.next = max(j.next, n+1)
		path := filepath.Join(dir, f.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, 0, err
		}
		evs, bad := parseJournal(b)
		damaged += bad
		if len(evs) == 0 {
			if err := os.Remove(path); err != nil {
				return nil, nil, 0, err
			}
			continue
		}
		seg := &segment{path: path, size: int64(len(b)), open: len(evs), full: true}
		j.segments = append(j.segments, seg)
		left[seg] = evs
	}
	return j, left, damaged, nil
}

// parseJournal returns the events of a segment and the number of lines that are neither an event nor the
// torn end of the last write.
func parseJournal(b []byte) (evs []Event, bad int) {
	for line := range bytes.Lines(b) {
		text, whole := bytes.CutSuffix(line, []byte("\n"))
		ev, ok := parseJournalLine(text)
		switch {
		case ok && whole:
			evs = append(evs, ev)
		case whole:
			bad++
		}
	}
	return evs, bad
}

func parseJournalLine(text []byte) (ev Event, ok bool) {
	sum, event, ok := bytes.Cut(text, []byte(" "))
	if !ok || len(sum) != 8 {
		return ev, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(event, castagnoli) {
		return ev, false
	}
	return ev, json.Unmarshal(event, &ev) == nil
}

func journalLine(event []byte) []byte {
	line := fmt.Appendf(make([]byte, 0, len(event)+10), "%08x ", crc32.Checksum(event, castagnoli))
	return append(append(line, event...), '\n')
}

// write appends an event. When it returns nil the event outlives the process.
func (j *journal) write(event []byte) (*segment, error) {
	line := journalLine(event)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active != nil && j.active.size >= segmentMax {
		if err := j.shelve(); err != nil {
			return nil, err
		}
	}
	if j.file == nil {
		if err := j.begin(); err != nil {
			return nil, err
		}
	}
	n, err := j.file.Write(line)
	if err == nil {
		j.active.size += int64(n)
		j.active.open++
		return j.active, nil
	}
	// A line that was cut off would take the next one with it.
	if n > 0 {
		if terr := j.file.Truncate(j.active.size); terr != nil {
			err = errors.Join(err, terr, j.shelve())
		}
	}
	return nil, fmt.Errorf("journal: %w", err)
}

func (j *journal) begin() error {
	path := filepath.Join(j.dir, fmt.Sprintf("%08d.jsonl", j.next))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.next++
	j.file, j.active = f, &segment{path: path}
	j.segments = append(j.segments, j.active)
	return nil
}

// shelve ends the active segment.
func (j *journal) shelve() error {
	f, seg := j.file, j.active
	j.file, j.active = nil, nil
	seg.full = true
	return errors.Join(f.Close(), j.clear(seg))
}

// clear removes a segment whose events are all durable, or empties it.
func (j *journal) clear(seg *segment) error {
	if seg.open > 0 {
		return nil
	}
	if seg.full {
		j.segments = slices.DeleteFunc(j.segments, func(s *segment) bool { return s == seg })
		return os.Remove(seg.path)
	}
	if seg.size > segmentClear {
		if err := j.file.Truncate(0); err != nil {
			return err
		}
		seg.size = 0
	}
	return nil
}

// durable notes that n events of a segment are in the ledger.
func (j *journal) durable(seg *segment, n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seg.open -= n
	if err := j.clear(seg); err != nil {
		// Harmless: events that are read again count once.
		j.log.Warn("a segment of the journal could not be removed", "path", seg.path, "err", err)
	}
}

// pending is the number of events not yet known to be in the ledger.
func (j *journal) pending() (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, seg := range j.segments {
		n += seg.open
	}
	return n
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	return j.shelve()
}
