package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"restante/cmd/internal/node"
	"restante/relay/sink"
)

// unpack writes the folders of testdata/older.tar.zst.
func unpack(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open("testdata/older.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOlderData starts today's program on what one from before recipients had lists and mail a quarantine left behind: in an
// outage it had been told of a person, had learned of another, kept three messages of which one was held and one removed, and was killed with
// kill -9. Its local databases are of older versions. All of it is still there, and what is to be handed over is.
func TestOlderData(t *testing.T) {
	whole(t)
	t.Parallel()
	dir := t.TempDir()
	unpack(t, dir)
	primary := startSink(t, sink.Options{})
	n := newNode(t, node.Options{Dir: dir, Primary: primary.Addr(),
		Extra: fmt.Sprintf("probe_interval = \"1s\"\nrecipients = [\"anna@example.test\"]\norigin = \"xclient\"\ntls = \"none\"\n"+
			"[retention]\nparked = \"0s\"\ndelivered = \"0s\"\n[webmail]\nlisten = [%q]\ntls = \"behind-proxy\"\nproxies = [\"127.0.0.1\"]\n", freeAddr(t))})
	start(t, n)
	d := wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 && d.Delivered == 1 })
	if d.Accepted != 3 || d.Parked != 1 {
		t.Errorf("%+v", d)
	}
	says := func(want string, args ...string) {
		t.Helper()
		if out, err := n.CLI(t.Context(), args...); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v: %s, want %q", args, err, out, want)
		}
	}
	says("held by admin root", "queue", "list", "--state", "parked")
	says("password", "user", "list")
	says("zoe@example.test  exists", "recipient", "test", "zoe@example.test")
	says("1 pair of 1 message released", "queue", "release", "--state", "held")
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.Pending == 0 && d.Delivered == 2 })
	says("unaccounted     0", "outage", "report")
	for i, m := range primary.Messages() {
		number := []string{"5", "3"}[i]
		if !strings.HasSuffix(string(m.Data), "Subject: n"+number+"\r\nMessage-ID: <up"+number+"@x.test>\r\n\r\nhello "+number+"\r\n\r\n") {
			t.Errorf("%s", m.Data)
		}
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, err := n.CLI(t.Context(), "fsck", "--store", "file://"+filepath.Join(dir, "spool")); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
