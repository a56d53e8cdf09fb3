//! SQL for the admin of a database.

/// Returns the commands that create a role with the rights that parlor needs, and no others.
pub fn role_sql(role: &str) -> String {
    let name = format!("\"{}\"", role.replace('"', "\"\""));
    format!(
        "-- For an owner of the database who may create roles. Then set a password: \\password {name}\n\
         CREATE ROLE {name} LOGIN;\n\
         -- Only a superuser creates a schema for a role without being its member.\n\
         GRANT {name} TO CURRENT_USER;\n\
         CREATE SCHEMA parlor AUTHORIZATION {name};\n\
         -- For a role `reader` that only reads:\n\
         -- GRANT USAGE ON SCHEMA parlor TO reader;\n\
         -- GRANT SELECT ON ALL TABLES IN SCHEMA parlor TO reader;\n\
         -- ALTER DEFAULT PRIVILEGES FOR ROLE {name} IN SCHEMA parlor GRANT SELECT ON TABLES TO reader;"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_role_is_quoted() {
        assert!(role_sql("a\"; DROP").contains("CREATE ROLE \"a\"\"; DROP\" LOGIN;"));
    }
}
