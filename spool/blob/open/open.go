// Package open makes a blob.Store from the URL that the configuration has:
//
//	file:///var/lib/restante/spool      a folder (blob/local); file:folder is relative
//	s3://bucket/prefix?endpoint=...     a bucket (blob/s3)
//	mem:                                memory, gone with the process (blob/mem)
//
// Keys of an s3 URL's query, all optional:
//
//	endpoint          https://host[:port], or http://127.0.0.1:9000; without it Amazon's
//	region            without it Amazon's is found out, and others get us-east-1
//	path_style        true: https://host/bucket/key, false: https://bucket.host/key
//	read_back         true: read every object after it was written, for servers that answer before it is safe; each PUT then costs a GET too
//	credentials_file  a file like ~/.aws/credentials
//	profile           the section of that file
//	ca_file           PEM certificates to trust beside the system's
//
// Credentials never stand in the URL: see s3.Credentials for where they are looked for.
package open

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"restante/spool/blob"
	"restante/spool/blob/local"
	"restante/spool/blob/mem"
	"restante/spool/blob/s3"
	"restante/spool/blob/wrap"
)

// Options of URL. The zero value opens the bare store.
type Options struct {
	// Metrics, if not nil, counts and times the calls.
	Metrics *wrap.Metrics
	// ReadOnly opens a folder without its lock, beside the process that writes to it. Buckets need no such thing.
	ReadOnly bool
	// Calls is how many calls to a bucket may run at once; 0: 32.
	Calls int
	// Getenv is where credentials are looked for; nil: os.Getenv.
	Getenv func(string) string
}

const defaultCalls = 32

// URL opens the store at a URL. For s3 it does not touch the network: blob.Prove does. End it with blob.Close.
func URL(ctx context.Context, raw string, o Options) (blob.Store, error) {
	u, err := parse(raw)
	if err != nil {
		return nil, err
	}
	var s blob.Store
	switch u.Scheme {
	case "file":
		s, err = openFile(u, o)
	case "s3":
		s, err = openS3(ctx, u, o)
	case "mem":
		if u.Opaque != "" || u.Host != "" || u.Path != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("store URL %q: write \"mem:\" alone", u.Redacted())
		}
		s = mem.New()
	default:
		return nil, fmt.Errorf("store URL %q: write file:///path/to/folder or s3://bucket/prefix", u.Redacted())
	}
	if err != nil {
		return nil, err
	}
	if o.Metrics != nil {
		s = wrap.Meter(s, o.Metrics)
	}
	return s, nil
}

func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		var parse *url.Error // repeats the URL, which may have a secret in it
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("store URL: %w", err)
	}
	if u.User != nil {
		return nil, fmt.Errorf("store URL %q: take the credentials out of it and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", u.Redacted())
	}
	if u.Fragment != "" {
		return nil, fmt.Errorf("store URL %q: write the \"#\" as %%23, or leave it out", u.Redacted())
	}
	return u, nil
}

func openFile(u *url.URL, o Options) (blob.Store, error) {
	dir, err := folder(u)
	if err != nil {
		return nil, err
	}
	// Without leases and outcomes, replay could not empty a full disk.
	return local.Open(dir, local.Options{ReadOnly: o.ReadOnly, Reserve: []string{"lease/", "ledger/"}})
}

func folder(u *url.URL) (string, error) {
	if u.RawQuery != "" {
		return "", fmt.Errorf("store URL %q: a folder has no options: leave out everything from the \"?\" on", u)
	}
	if u.Host != "" && u.Host != "localhost" {
		return "", fmt.Errorf("store URL %q: write three slashes, file:///%s%s, or file:%s%s for a folder below the current one", u, u.Host, u.Path, u.Host, u.Path)
	}
	if u.Opaque != "" {
		return url.PathUnescape(u.Opaque)
	}
	if u.Path == "" || u.Path == "/" {
		return "", fmt.Errorf("store URL %q: name a folder, such as file:///var/lib/restante/spool", u)
	}
	return u.Path, nil
}

func openS3(ctx context.Context, u *url.URL, o Options) (blob.Store, error) {
	c, err := config(u, o)
	if err != nil {
		return nil, err
	}
	s, err := s3.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("store URL %q: %w", u.Redacted(), err)
	}
	calls := o.Calls
	if calls == 0 {
		calls = defaultCalls
	}
	return wrap.Retry(wrap.Limit(s, calls), wrap.RetryOptions{}), nil
}

// config reads an s3 URL.
func config(u *url.URL, o Options) (s3.Config, error) {
	if u.Opaque != "" || u.Host == "" {
		return s3.Config{}, fmt.Errorf("store URL %q: write s3://bucket or s3://bucket/prefix", u)
	}
	c := s3.Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Credentials: s3.Credentials{Getenv: o.Getenv}}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, fmt.Errorf("store URL s3://%s: what follows the \"?\" can't be read", u.Host)
	}
	for _, key := range slices.Sorted(maps.Keys(query)) {
		values := query[key]
		if len(values) > 1 {
			return c, fmt.Errorf("store URL s3://%s: %s is there %d times: write it once", u.Host, key, len(values))
		}
		if err := set(&c, key, values[0]); err != nil {
			return c, fmt.Errorf("store URL s3://%s: %w", u.Host, err)
		}
	}
	return c, nil
}

var keys = []string{"endpoint", "region", "path_style", "read_back", "credentials_file", "profile", "ca_file"}

func set(c *s3.Config, key, value string) (err error) {
	if value == "" && slices.Contains(keys, key) {
		return fmt.Errorf("%s is empty: give it a value, or leave it out", key)
	}
	switch key {
	case "endpoint":
		c.Endpoint = value
	case "region":
		c.Region = value
	case "path_style":
		var b bool
		b, err = boolean(key, value)
		c.PathStyle = &b
	case "read_back":
		c.ReadBack, err = boolean(key, value)
	case "credentials_file":
		c.Credentials.File = value
	case "profile":
		c.Credentials.Profile = value
	case "ca_file":
		c.CAFile = value
	default:
		return unknown(key)
	}
	return err
}

func boolean(key, value string) (bool, error) {
	if b, err := strconv.ParseBool(value); err == nil {
		return b, nil
	}
	return false, fmt.Errorf("%s=%s: write %s=true or %s=false", key, value, key, key)
}

// instead is what to write for keys that other programs have.
var instead = map[string]string{
	"host": "endpoint=https://host:port", "url": "endpoint=https://host:port", "endpoint_url": "endpoint=https://host:port", "server": "endpoint=https://host:port",
	"ssl": "endpoint=https://...", "secure": "endpoint=https://...", "tls": "endpoint=https://...", "disablessl": "endpoint=http://...",
	"pathstyle": "path_style=true", "forcepathstyle": "path_style=true", "s3forcepathstyle": "path_style=true", "usepathstyle": "path_style=true", "addressing_style": "path_style=true",
	"readback": "read_back=true", "verify": "read_back=true",
	"prefix": "the prefix into the path, s3://bucket/prefix,", "bucket": "the bucket first, s3://bucket/prefix,",
	"cacert": "ca_file=/path/to/ca.pem", "ca": "ca_file=/path/to/ca.pem", "awsprofile": "profile=name",
}

// unknown says what to write instead of a key that isn't one. The value is not repeated: it may be a secret.
func unknown(key string) error {
	plain := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(key))
	for _, secret := range []string{"accesskey", "secret", "password", "token", "credential"} {
		if strings.Contains(plain, secret) {
			return fmt.Errorf("unknown key %q: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment instead, or write credentials_file=/path", key)
		}
	}
	for other, write := range instead {
		if strings.ReplaceAll(other, "_", "") == plain {
			return fmt.Errorf("unknown key %q: write %s instead", key, write)
		}
	}
	for _, k := range keys {
		if distance(plain, strings.ReplaceAll(k, "_", "")) <= 2 {
			return fmt.Errorf("unknown key %q: write %s instead", key, k)
		}
	}
	return fmt.Errorf("unknown key %q: write one of %s", key, strings.Join(keys, ", "))
}

// distance is how many octets must be changed, added or taken to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
