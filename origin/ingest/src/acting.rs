//! Whom a caller acts for here: identity's memberships, held to what a call needs. Routes ask; nothing is remembered from one call to the next.

use platform::{
    Problem,
    memberships::{MemberRole, Membership, NotAllowed, require},
};
use protocol::ArtistId;

/// All that a caller is a member of.
#[derive(Debug)]
pub(crate) struct Acting(pub(crate) Vec<Membership>);

impl Acting {
    /// The artists themselves.
    pub(crate) fn artists(&self) -> Vec<ArtistId> {
        self.0.iter().map(|membership| membership.artist_id).collect()
    }

    /// Holds the caller's role for `artist` to `needs`.
    pub(crate) fn may(&self, artist: ArtistId, needs: MemberRole) -> Result<&Membership, NotAllowed> {
        let membership = self.0.iter().find(|membership| membership.artist_id == artist).ok_or(NotAllowed::NotAMember)?;
        require(Some(membership.role), needs)?;
        Ok(membership)
    }

    /// Whom an upload is for: the artist that is named, or the only one that the caller may upload for.
    ///
    /// # Errors
    /// 403 `not_a_member`, `needs_editor`, or `not_an_artist` for who acts for none; 422 `artist_not_named` where there is a choice.
    pub(crate) fn uploads_for(&self, named: Option<ArtistId>) -> Result<&Membership, Problem> {
        if let Some(artist) = named {
            return Ok(self.may(artist, MemberRole::Editor)?);
        }
        let mut able = self.0.iter().filter(|membership| membership.role >= MemberRole::Editor);
        match (able.next(), able.next(), self.0.first()) {
            (Some(only), None, _) => Ok(only),
            (Some(_), Some(_), _) => {
                let detail = "you act for several artists: name the one that this upload is for, GET /v1/me/artists lists them";
                Err(Problem::unprocessable("artist_not_named", detail).with_errors([("/artist_id", "is needed here")]))
            }
            (None, _, Some(viewed)) => Err(NotAllowed::RoleTooLow { needs: MemberRole::Editor, is: viewed.role }.into()),
            (None, _, None) => {
                Err(Problem::forbidden("not_an_artist", "you act for no artist: sign up as one, or let an owner of one invite you"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AccountId, UnixMs};

    use super::*;

    fn artist(n: u8) -> ArtistId {
        ArtistId::v7(UnixMs(1), [n; 10])
    }

    fn acting(roles: &[MemberRole]) -> Acting {
        let member = |(n, role): (u8, &MemberRole)| Membership {
            artist_id: artist(n),
            artist_name: format!("artist {n}"),
            role: *role,
            payee: AccountId::v7(UnixMs(1), [n; 10]),
        };
        Acting((1..).zip(roles).map(member).collect())
    }

    #[test]
    fn an_upload_is_for_the_artist_named_or_the_only_one_there_is() {
        use MemberRole::{Editor, Owner, Viewer};
        type Case<'a> = (&'a [MemberRole], Option<u8>, Result<u8, &'a str>);
        let table: [Case; 9] = [
            (&[Owner], None, Ok(1)),
            (&[Viewer, Editor], None, Ok(2)),
            (&[Owner, Editor], None, Err("artist_not_named")),
            (&[Owner, Editor], Some(2), Ok(2)),
            (&[Owner, Viewer], Some(2), Err("needs_editor")),
            (&[Owner], Some(9), Err("not_a_member")),
            (&[Viewer, Viewer], None, Err("needs_editor")),
            (&[], None, Err("not_an_artist")),
            (&[], Some(1), Err("not_a_member")),
        ];
        for (roles, named, expected) in table {
            let acting = acting(roles);
            let chosen = acting.uploads_for(named.map(artist));
            assert_eq!(
                chosen.map(|chosen| chosen.artist_id).map_err(|problem| problem.code()),
                expected.map(artist),
                "{roles:?} {named:?}"
            );
        }
    }
}
