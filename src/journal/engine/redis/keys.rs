//! The keys of a log, and the commands about them.

use ::redis::{Cmd, cmd};

use crate::journal::engine::address::ClusterName;
use crate::journal::engine::seam::{Extent, LogId, SNAPSHOTS};

/// Makes the hash that names the log, unless there is one: KEYS log, name; ARGV drawn.
const OPEN: &str = "\
if redis.call('EXISTS', KEYS[2]) == 0 then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('ORPHAN ' .. KEYS[2] .. ' is missing beside ' .. KEYS[1]) end
  redis.call('HSET', KEYS[2], 'id', ARGV[1], 'first', '1', 'last', '0')
end
return redis.call('HMGET', KEYS[2], 'id', 'first', 'last')";

/// Appends a batch: KEYS log, name; ARGV drawn, batch. In Lua all numbers are exact below 2^53.
const APPEND: &str = "\
if redis.call('HGET', KEYS[2], 'id') ~= ARGV[1] then return redis.error_reply('OTHER another log is there') end
local n = string.format('%d', redis.call('HGET', KEYS[2], 'last') + 1)
redis.call('XADD', KEYS[1], n .. '-0', 'b', ARGV[2])
redis.call('HSET', KEYS[2], 'last', n)
return tonumber(n)";

/// Removes the entries before one: KEYS log, name; ARGV drawn, the first that stays.
const TRIM: &str = "\
if redis.call('HGET', KEYS[2], 'id') ~= ARGV[1] then return redis.error_reply('OTHER another log is there') end
local first = math.min(tonumber(ARGV[2]), redis.call('HGET', KEYS[2], 'last') + 1)
if first > tonumber(redis.call('HGET', KEYS[2], 'first')) then
  first = string.format('%d', first)
  redis.call('XTRIM', KEYS[1], 'MINID', first .. '-0')
  redis.call('HSET', KEYS[2], 'first', first)
end
return redis.status_reply('OK')";

/// Makes a snapshot whole, and removes those beyond what is kept: KEYS snapshots, parts; ARGV name, its last entry, number of
/// parts, number of snapshots, what stands before their names.
const FINISH: &str = "\
if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[3]) then return redis.error_reply('LOST parts of the snapshot are missing') end
redis.call('PERSIST', KEYS[2])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1 - ARGV[4])) do
  redis.call('UNLINK', ARGV[5] .. name)
  redis.call('ZREM', KEYS[1], name)
end
return redis.status_reply('OK')";

/// The keys of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The stream.
    pub log: String,
    /// The hash that names the stream, with its first and last entry.
    pub name: String,
    /// The whole snapshots, in order.
    pub snapshots: String,
    /// What stands before a snapshot's name.
    pub parts: String,
}

impl Keys {
    /// The keys of a cluster.
    pub fn new(name: &ClusterName) -> Keys {
        Keys {
            log: format!("{name}:log"),
            name: format!("{name}:log:name"),
            snapshots: format!("{name}:snapshots"),
            parts: format!("{name}:snapshot:"),
        }
    }

    fn script(&self, script: &str) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(script).arg(2).arg(&self.log).arg(&self.name);
        command
    }

    /// Names the log, or reads its name.
    pub fn open(&self, drawn: &str) -> Cmd {
        let mut command = self.script(OPEN);
        command.arg(drawn);
        command
    }

    /// Reads the log's name, and its first and last entry.
    pub fn look(&self) -> Cmd {
        let mut command = cmd("HMGET");
        command.arg(&self.name).arg(&["id", "first", "last"]);
        command
    }

    /// What is said of the log.
    ///
    /// # Errors
    ///
    /// There is none, or another program made the key.
    pub fn read(&self, said: Vec<Option<String>>) -> Result<(LogId, Extent), String> {
        let mut said = said.into_iter().map(Option::unwrap_or_default);
        let mut next = || said.next().unwrap_or_default();
        let (drawn, first, last) = (next(), next(), next());
        let read = || {
            let identity = LogId { drawn: u128::from_str_radix(&drawn, 16).ok()?, made: 0 };
            Some((identity, Extent { first: first.parse().ok()?, last: last.parse().ok()? }))
        };
        match (drawn.is_empty(), read()) {
            (_, Some(read)) => Ok(read),
            (true, None) => Ok((LogId::NONE, Extent { first: 1, last: 0 })),
            (false, None) => Err(format!("the key {} is not that of a log", self.name)),
        }
    }

    /// Appends a batch.
    pub fn append(&self, identity: LogId, batch: &[u8]) -> Cmd {
        let mut command = self.script(APPEND);
        command.arg(format!("{:032x}", identity.drawn)).arg(batch);
        command
    }

    /// Removes the entries before one.
    pub fn trim(&self, identity: LogId, before: u64) -> Cmd {
        let mut command = self.script(TRIM);
        command.arg(format!("{:032x}", identity.drawn)).arg(before);
        command
    }

    /// Makes a snapshot whole.
    pub fn finish(&self, name: &str, at: u64, parts: u64) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(FINISH).arg(2).arg(&self.snapshots).arg(format!("{}{name}", self.parts));
        command.arg(name).arg(at).arg(parts).arg(SNAPSHOTS).arg(&self.parts);
        command
    }
}
