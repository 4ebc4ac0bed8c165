package health

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"

	"restante/relay/smtpc"
)

// pastState is the content of the state file.
type pastState struct {
	Sets map[string]pastSet  `json:"sets"`
	MX   map[string][]string `json:"mx,omitempty"` // hosts by domain
}

type pastSet struct {
	Record Record            `json:"record"`
	Best   string            `json:"best,omitempty"`
	Addrs  map[string]string `json:"addrs,omitempty"`
	Offers *smtpc.Offers     `json:"offers,omitempty"`
}

// loadState reads the state file. One that is missing or damaged means that nothing is known, as at the
// first start: everything in it is found again by probing.
func (m *Monitor) loadState() {
	if m.o.StateFile == "" {
		return
	}
	b, err := os.ReadFile(m.o.StateFile)
	if err == nil {
		err = json.Unmarshal(b, &m.past)
	}
	if err != nil && !os.IsNotExist(err) {
		m.past = pastState{}
		m.log.Warn("what was known of the primaries can't be read; probing anew", "file", m.o.StateFile, "error", err)
	}
}

// saveStateLocked writes the state file, when its content changed. It is a cache: without it a restart
// during an outage of DNS finds no address, so a failure is told, and tried again at the next change.
func (m *Monitor) saveStateLocked() {
	if m.o.StateFile == "" {
		return
	}
	p := pastState{Sets: make(map[string]pastSet, len(m.sets)), MX: make(map[string][]string)}
	for key, s := range m.sets {
		r := s.rec
		r.Declaration = nil
		p.Sets[key] = pastSet{Record: r, Best: s.best, Addrs: s.addrs, Offers: s.offers}
	}
	for name, d := range m.domains {
		if fromDNS(d.Primary) && len(d.targets) > 0 {
			for _, t := range d.targets {
				p.MX[name] = append(p.MX[name], t.Host)
			}
		}
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil && bytes.Equal(b, m.saved) {
		return
	}
	if err == nil {
		tmp := filepath.Join(filepath.Dir(m.o.StateFile), "."+filepath.Base(m.o.StateFile)+".tmp")
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, m.o.StateFile)
		}
	}
	if err != nil {
		m.log.Warn("what is known of the primaries can't be kept", "file", m.o.StateFile, "error", err)
		return
	}
	m.saved, m.past = b, p
}
