//! Tests of databases, caches and queues, each through its own protocol.

use pitcrew_model::{
    AmqpTest, HelloTest, MemcachedTest, MysqlTest, PostgresTest, RedisTest, Secret, SqlExpectation,
    StoreProtocol,
};

use super::{
    secret::secret,
    test_network::{TLS_DOC, TLS_OPTIONS, tls_or_options},
};
use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Key, Kind, Shape, defaulted, optional, required},
    values,
};

const PORT: Key = optional(
    "port",
    values::PORT,
    "Port, instead of the one of the target's address.",
);
const PASSWORD: Key = optional("password", Kind::Secret, "The password, best as `${ENV}`.");
const PASSWORD_FILE: Key = optional(
    "password_file",
    values::PATH,
    "A file that holds the password.",
);
const QUERY: Key = optional(
    "query",
    Kind::Shape(&SQL),
    "A query and what it must answer.",
);

const SQL: Shape = Shape::new(
    "query",
    "A query and what it must answer.",
    &[
        required(
            "sql",
            Kind::Text,
            "The query; it should be quick and change nothing.",
        ),
        optional(
            "matches",
            values::PATTERN,
            "Regular expression for the first column of the first row; without it, any row will do.",
        ),
    ],
);

pub(crate) const POSTGRES: Shape = Shape::new(
    "postgres test",
    "PostgreSQL lets us in and answers.",
    &[
        PORT,
        optional(
            "socket",
            values::PATH,
            "Directory of its Unix socket, instead of the network.",
        ),
        required("user", Kind::Text, "The user to log in as."),
        PASSWORD,
        PASSWORD_FILE,
        defaulted("database", Kind::Text, "postgres", "The database."),
        QUERY,
        optional(
            "replica_lag_max",
            values::DURATION,
            "Fails when a replica is further behind.",
        ),
        defaulted(
            "tls",
            Kind::Either(&[Kind::Flag, Kind::Shape(&TLS_OPTIONS)]),
            "false",
            TLS_DOC,
        ),
    ],
);

pub(crate) const MYSQL: Shape = Shape::new(
    "mysql test",
    "MySQL or MariaDB lets us in and answers.",
    &[
        PORT,
        optional(
            "socket",
            values::PATH,
            "Its Unix socket, instead of the network.",
        ),
        required("user", Kind::Text, "The user to log in as."),
        PASSWORD,
        PASSWORD_FILE,
        optional("database", Kind::Text, "The database; none is needed."),
        QUERY,
    ],
);

pub(crate) const REDIS: Shape = Shape::new(
    "redis test",
    "Redis answers PING.",
    &[
        PORT,
        optional("user", Kind::Text, "The user to log in as."),
        PASSWORD,
        PASSWORD_FILE,
        optional(
            "role",
            Kind::OneOf(&["master", "slave"]),
            "Fails unless the server has this role.",
        ),
    ],
);

pub(crate) const MEMCACHED: Shape = Shape::new("memcached test", "Memcached answers.", &[PORT]);

pub(crate) const AMQP: Shape = Shape::new(
    "amqp test",
    "RabbitMQ lets us in.",
    &[
        PORT,
        required("user", Kind::Text, "The user to log in as."),
        PASSWORD,
        PASSWORD_FILE,
        defaulted("virtual_host", Kind::Text, "/", "The virtual host."),
        optional("queue", Kind::Text, "A queue that must exist."),
        optional(
            "messages_max",
            Kind::Whole {
                min: 0,
                max: u32::MAX as u64,
            },
            "Fails when that queue holds more.",
        ),
    ],
);

const PROTOCOLS: [&str; 4] = ["postgres", "mysql", "redis", "amqp"];

pub(crate) const HELLO: Shape = Shape::new(
    "hello test",
    "A store answers in its own protocol, before anybody is logged in: for where no credentials are known.",
    &[
        PORT,
        required("protocol", Kind::OneOf(&PROTOCOLS), "What it speaks."),
    ],
);

fn password(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Secret> {
    secret(reader, fields, "password", "password_file")
}

fn socket(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let socket = fields.value(reader, "socket", values::not_empty)?;
    let path = reader.path(fields.place_of("socket"), &socket);
    Some(path.display().to_string())
}

fn query(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<SqlExpectation> {
    let fields = fields.inner(reader, "query")?;
    let sql = fields.value(reader, "sql", values::not_empty);
    let matches = fields.value(reader, "matches", values::pattern);
    Some(SqlExpectation { sql: sql?, matches })
}

pub(crate) fn postgres(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PostgresTest> {
    let user = fields.value(reader, "user", values::not_empty);
    let (tls, tls_options) = tls_or_options(reader, fields);
    let test = PostgresTest {
        port: fields.whole(reader, "port"),
        socket: socket(reader, fields),
        user: user.clone().unwrap_or_default(),
        password: password(reader, fields),
        database: fields.or_default(reader, "database", values::not_empty),
        query: query(reader, fields),
        replica_lag_max: fields.value(reader, "replica_lag_max", values::duration),
        tls,
        tls_options,
    };
    user.map(|_| test)
}

pub(crate) fn mysql(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<MysqlTest> {
    let user = fields.value(reader, "user", values::not_empty);
    let test = MysqlTest {
        port: fields.whole(reader, "port"),
        socket: socket(reader, fields),
        user: user.clone().unwrap_or_default(),
        password: password(reader, fields),
        database: fields.value(reader, "database", values::not_empty),
        query: query(reader, fields),
    };
    user.map(|_| test)
}

pub(crate) fn redis(reader: &mut Reader<'_>, fields: &Fields<'_>) -> RedisTest {
    RedisTest {
        port: fields.whole(reader, "port"),
        user: fields.value(reader, "user", values::not_empty),
        password: password(reader, fields),
        role: fields.value(reader, "role", |text| {
            values::one_of(text, &["master", "slave"]).map(str::to_owned)
        }),
    }
}

pub(crate) fn memcached(reader: &mut Reader<'_>, fields: &Fields<'_>) -> MemcachedTest {
    MemcachedTest {
        port: fields.whole(reader, "port"),
    }
}

pub(crate) fn amqp(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<AmqpTest> {
    let user = fields.value(reader, "user", values::not_empty);
    if let (Some(entry), false) = (fields.entry("messages_max"), fields.has("queue")) {
        reader.error(entry.key_at, "`messages_max` needs `queue`: which one?");
    }
    let test = AmqpTest {
        port: fields.whole(reader, "port"),
        user: user.clone().unwrap_or_default(),
        password: password(reader, fields),
        virtual_host: fields.or_default(reader, "virtual_host", values::not_empty),
        queue: fields.value(reader, "queue", values::not_empty),
        messages_max: fields.whole(reader, "messages_max"),
    };
    user.map(|_| test)
}

pub(crate) fn hello(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<HelloTest> {
    let protocol = fields.value(reader, "protocol", |text| {
        values::one_of(text, &PROTOCOLS).map(|word| match word {
            "postgres" => StoreProtocol::Postgres,
            "mysql" => StoreProtocol::Mysql,
            "redis" => StoreProtocol::Redis,
            _ => StoreProtocol::Amqp,
        })
    });
    let port = fields.whole(reader, "port");
    protocol.map(|protocol| HelloTest { port, protocol })
}
