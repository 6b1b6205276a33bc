//! What an account is, and what one must look like to be made. From the request body to the row.

use protocol::{AccountId, Plan, Role, Territory};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::IdentityError;

const PASSWORD_CHARS_MIN: usize = 10;
/// Far above any passphrase; keeps a hash's cost bounded.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;
const NAME_CHARS_MAX: usize = 100;
/// RFC 5321 section 4.5.3.1.3, less the angle brackets.
const EMAIL_CHARS_MAX: usize = 254;

/// The body of `POST /v1/accounts`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountRequest {
    /// Names the account when logging in; its case does not matter.
    #[schema(example = "ada@example.org")]
    pub email: String,
    /// At least 10 characters.
    #[schema(min_length = 10, max_length = 1024)]
    pub password: String,
    /// The name that others see.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// `listener` or `artist`.
    #[schema(value_type = String, example = "listener")]
    pub role: Role,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    pub country: String,
}

/// An account as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Account {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: AccountId,
    /// The name that others see.
    pub name: String,
    /// `listener`, `artist` or `admin`.
    #[schema(value_type = String)]
    pub role: Role,
    /// `free` or `premium`.
    #[schema(value_type = String)]
    pub plan: Plan,
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) country: Territory,
}

/// An account that may be made.
pub(crate) struct NewAccount {
    pub(crate) email: String,
    pub(crate) email_key: String,
    pub(crate) password: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) plan: Plan,
    pub(crate) country: Territory,
}

impl NewAccount {
    /// From anyone: never an administrator, and on the free plan.
    pub(crate) fn public(request: AccountRequest) -> Result<Self, IdentityError> {
        let mut errors = Vec::new();
        if request.role == Role::Admin {
            errors.push(("/role", "must be `listener` or `artist`".to_owned()));
        }
        let country = request.country.parse().unwrap_or_else(|error: protocol::territory::NotATerritory| {
            errors.push(("/country", error.to_string()));
            Territory::UNKNOWN
        });
        Self::checked(&request.email, request.password, &request.name, request.role, country, Plan::Free, errors)
    }

    /// From whoever runs the deployment.
    pub(crate) fn trusted(
        email: &str,
        password: &str,
        name: &str,
        role: Role,
        country: Territory,
        plan: Plan,
    ) -> Result<Self, IdentityError> {
        Self::checked(email, password.to_owned(), name, role, country, plan, Vec::new())
    }

    fn checked(
        email: &str,
        password: String,
        name: &str,
        role: Role,
        country: Territory,
        plan: Plan,
        mut errors: Vec<(&'static str, String)>,
    ) -> Result<Self, IdentityError> {
        let (email, name) = (email.trim(), name.trim());
        if !is_email(email) {
            errors.push(("/email", "is not an email address".to_owned()));
        }
        if password.chars().count() < PASSWORD_CHARS_MIN {
            errors.push(("/password", format!("must have at least {PASSWORD_CHARS_MIN} characters")));
        } else if password.len() > PASSWORD_BYTES_MAX {
            errors.push(("/password", format!("must have at most {PASSWORD_BYTES_MAX} bytes")));
        }
        let letters = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&letters) || name.chars().any(char::is_control) {
            errors.push(("/name", format!("must have 1 to {NAME_CHARS_MAX} printable characters")));
        }
        if !errors.is_empty() {
            return Err(IdentityError::Invalid(errors));
        }
        Ok(Self { email: email.to_owned(), email_key: email_key(email), password, name: name.to_owned(), role, plan, country })
    }
}

/// The address as it is compared. Local parts may differ by case on paper (RFC 5321 section 2.4) and never do in practice.
pub(crate) fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Something before and something with a dot after one `@`, nothing that could end a header. Whether mail arrives there is another matter.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let labels_are_full = domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    text.len() <= EMAIL_CHARS_MAX
        && !local.is_empty()
        && !local.contains('@')
        && domain.contains('.')
        && labels_are_full
        && !text.chars().any(|letter| letter.is_whitespace() || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(email: &str, password: &str, name: &str, role: Role, country: &str) -> AccountRequest {
        let text = str::to_owned;
        AccountRequest { email: text(email), password: text(password), name: text(name), role, country: text(country) }
    }

    #[test]
    fn every_wrong_place_is_named_at_once() {
        let Err(IdentityError::Invalid(errors)) = NewAccount::public(request("ada", "short", " ", Role::Admin, "de")) else {
            unreachable!("the request is wrong in every place");
        };
        let places: Vec<_> = errors.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, ["/role", "/country", "/email", "/password", "/name"]);
    }

    #[test]
    fn an_address_is_one_whatever_its_case() {
        let account = NewAccount::public(request(" Ada@Example.ORG ", "correct horse", "Ada", Role::Artist, "DE")).ok();
        assert_eq!(account.map(|account| (account.email, account.email_key)), Some(("Ada@Example.ORG".into(), "ada@example.org".into())));
    }

    #[test]
    fn addresses_that_cannot_be_are_refused() {
        let table = [
            ("ada@example.org", true),
            ("ada+music@sub.example.org", true),
            ("ada@localhost", false),
            ("@example.org", false),
            ("ada@", false),
            ("ada@example..org", false),
            ("ada@-example.org", false),
            ("a b@example.org", false),
            ("a@b@example.org", false),
            ("ada@example.org\r\nBcc: eve@example.org", false),
        ];
        for (text, good) in table {
            assert_eq!(is_email(text), good, "{text:?}");
        }
    }
}
