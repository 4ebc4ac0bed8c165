package app

import (
	"context"

	"restante/cmd/internal/admin"
)

// UserInvite implements admin.UserBackend.
func (b *backend) UserInvite(ctx context.Context, by string, r admin.UserSelect) ([]admin.UserInvited, error) {
	return nil, admin.Errorf(admin.KindFailed, "use `restante user link`", "invitations can't be sent yet")
}
