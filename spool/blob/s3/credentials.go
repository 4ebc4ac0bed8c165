package s3

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Credentials says where the access key comes from: the first of these that is there.
//
//  1. AccessKey and SecretKey
//  2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) in the environment
//  3. the same with _FILE at the end: the name of a file with the value in it, as systemd and Docker hand out secrets
//  4. File, or ~/.aws/credentials and ~/.aws/config, at Profile
//  5. the role of the instance, container or pod
type Credentials struct {
	AccessKey string
	SecretKey Secret
	File      string
	Profile   string              // "": AWS_PROFILE, else "default"
	Getenv    func(string) string // nil: os.Getenv
}

// Secret is a string that isn't printed.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "**redacted**"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret from JSON and TOML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// roleTimeout bounds asking for an instance role, which on other machines nobody answers.
const roleTimeout = 3 * time.Second

// chain is a credentials.Provider that asks one source after the other, and keeps to the one that answered.
type chain struct {
	from    Credentials
	current credentials.Provider
}

// errNoCredentials: no source had any.
var errNoCredentials = errors.New("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY " +
	"(or AWS_ACCESS_KEY_ID_FILE and AWS_SECRET_ACCESS_KEY_FILE), or write ~/.aws/credentials, or give the machine a role")

// RetrieveWithCredContext implements credentials.Provider.
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	own, err := c.from.environment()
	if err != nil {
		return credentials.Value{}, err
	}
	sources := []credentials.Provider{
		own,
		&credentials.FileAWSCredentials{Filename: c.from.File, Profile: c.from.Profile},
		&credentials.IAM{Client: &http.Client{Timeout: roleTimeout}},
	}
	if c.from.File != "" || c.from.Profile != "" {
		sources = sources[1:2] // asked for by name: nothing else will do
	}
	failed := errNoCredentials
	for _, s := range sources {
		v, err := s.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			c.current = s
			return v, nil
		}
		if err != nil {
			failed = fmt.Errorf("%w (%w)", failed, err)
		}
	}
	return credentials.Value{}, failed
}

// Retrieve implements credentials.Provider.
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired implements credentials.Provider.
func (c *chain) IsExpired() bool { return c.current == nil || c.current.IsExpired() }

// environment reads what is given directly, by variables, or by files that variables name.
// Static returns the keys that stand in the environment or in a file; empty when there are none, as with an instance's role.
func (c Credentials) Static() (access string, key Secret, err error) {
	own, err := c.environment()
	if err != nil {
		return "", "", err
	}
	sources := []credentials.Provider{own, &credentials.FileAWSCredentials{Filename: c.File, Profile: c.Profile}}
	if c.File != "" || c.Profile != "" {
		sources = sources[1:] // as in RetrieveWithCredContext
	}
	for _, s := range sources {
		if v, err := s.RetrieveWithCredContext(nil); err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			return v.AccessKeyID, Secret(v.SecretAccessKey), nil
		}
	}
	return "", "", nil
}

func (c Credentials) environment() (*credentials.Static, error) {
	v := credentials.Value{AccessKeyID: c.AccessKey, SecretAccessKey: string(c.SecretKey), SignerType: credentials.SignatureV4}
	if v.AccessKeyID != "" {
		return &credentials.Static{Value: v}, nil
	}
	getenv := c.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	for name, field := range map[string]*string{
		"AWS_ACCESS_KEY_ID":     &v.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": &v.SecretAccessKey,
		"AWS_SESSION_TOKEN":     &v.SessionToken,
	} {
		*field = getenv(name)
		if path := getenv(name + "_FILE"); *field == "" && path != "" {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("%s_FILE: %w", name, err)
			}
			*field = strings.TrimSpace(string(text))
		}
	}
	return &credentials.Static{Value: v}, nil
}
