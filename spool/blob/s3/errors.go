package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"restante/spool/blob"
)

// putError says what an error of a PUT means for the object. sent is false when no connection was ever had.
func putError(err error, sent bool, cond blob.Cond) error {
	r := minio.ToErrorResponse(err)
	switch {
	case !sent:
		return fmt.Errorf("%w: %w", err, blob.ErrNotWritten)
	case r.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", blob.ErrPrecondition, err)
	case r.StatusCode == http.StatusNotFound && cond.Match != "" && r.Code == minio.NoSuchKey:
		return fmt.Errorf("%w: nothing is there", blob.ErrPrecondition)
	case r.StatusCode == http.StatusNotImplemented:
		return fmt.Errorf("%w: %w: %w", blob.ErrUnfit, err, blob.ErrNotWritten)
	case r.StatusCode == http.StatusInsufficientStorage, fullCodes[r.Code]:
		return fmt.Errorf("%w: %w: %w", blob.ErrNoSpace, err, blob.ErrNotWritten)
	case r.StatusCode == http.StatusRequestTimeout, r.StatusCode == http.StatusConflict:
		return err // another request to the same key may be under way, perhaps our own
	case r.StatusCode >= 300 && r.StatusCode < 500:
		return fmt.Errorf("%w: %w", err, blob.ErrNotWritten)
	}
	return err
}

// fullCodes are the error codes of servers that are full or whose quota is used up.
var fullCodes = map[string]bool{
	"XMinioStorageFull":              true,
	"XMinioAdminBucketQuotaExceeded": true,
	"QuotaExceeded":                  true,
	"InsufficientCapacity":           true,
	"InsufficientStorage":            true,
	"StorageFull":                    true,
}

// getError says what an error of a GET means.
func getError(err error) error {
	switch r := minio.ToErrorResponse(err); {
	case r.StatusCode == http.StatusNotFound && r.Code == minio.NoSuchKey:
		return fmt.Errorf("%w", blob.ErrNotExist)
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w", blob.ErrRange)
	}
	return err
}

// explain adds to an error what to do about it, where that is known.
func (s *Store) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		return err
	}
	switch r.Code {
	case minio.NoSuchBucket:
		return fmt.Errorf("%w: make the bucket %q, or name another in the URL", err, s.bucket)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return fmt.Errorf("%w: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", err)
	case minio.AccessDenied:
		return fmt.Errorf("%w: the key needs s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket on the bucket %q", err, s.bucket)
	case minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect":
		return fmt.Errorf("%w: put the bucket's region into the URL (?region=...)", err)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%w: set this machine's clock", err)
	}
	return err
}
