//! Instances: hosts, health and allocations.

use serde_json::{Value, json};

use super::answer::{Answer, ExpectedAnswer, ExpectedEtag, ResolvedStep};
use super::setup::{ALLOCATIONS, AutoStart, HealthSettings, MAPS, Setup};
use super::state::{Caller, Data, Entry, Model, Refusal, Session};
use super::step::{InstanceChange, InstanceRequest, Step};
use super::views::{as_seen, set, time};

/// The instance of a session.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `None` until the server has named the id that it chose.
    pub id: Option<String>,
    host_type: &'static str,
    host: Option<usize>,
    host_player_id: Option<i64>,
    registrar: Option<usize>,
    pub allocation: Option<usize>,
    join_status: &'static str,
    address: Option<&'static str>,
    startup: Option<Value>,
    version: Option<&'static str>,
    match_id: Option<&'static str>,
    created_s: i64,
    data: Data,
    pub health: Option<&'static str>,
    /// The health in the last report, and its time.
    last_report: Option<(&'static str, i64)>,
    /// The times of the reports that count.
    counted_at_s: Vec<i64>,
}

impl Instance {
    /// Records a report. A report within half the reporting interval of the one before does not count.
    fn report(&mut self, rules: &HealthSettings, health: &'static str, now_s: i64) {
        self.last_report = Some((health, now_s));
        if self.counted_at_s.last().is_none_or(|last_s| (now_s - last_s) * 2 >= rules.cadence_s) {
            self.counted_at_s.push(now_s);
        }
        self.health = Some(self.health_at(rules, health, now_s));
    }

    /// The health at a time, by the reports in the last `missed_max` reporting intervals.
    fn health_at(&self, rules: &HealthSettings, last_report: &'static str, at_s: i64) -> &'static str {
        let began_s = at_s - rules.cadence_s * rules.missed_max;
        let received =
            self.counted_at_s.iter().filter(|counted_at_s| **counted_at_s > began_s).count() as i64;
        let since_s = self.counted_at_s.first().map_or(at_s, |first_s| began_s.max(*first_s));
        let missed = (at_s - since_s) / rules.cadence_s - received;
        match received {
            0 => "unknown",
            _ if missed > 0 && missed * 100 >= rules.missed_percent * rules.missed_max => "unhealthy",
            _ => last_report,
        }
    }

    /// The healths that the server may show. It checks for missed reports once per reporting interval, at a time of
    /// its choice.
    pub fn possible_healths(&self, rules: &HealthSettings, now_s: i64) -> Vec<&'static str> {
        let Some((last_report, reported_s)) = self.last_report else { return Vec::new() };
        let check_times_s = reported_s.max(now_s - rules.cadence_s + 1)..=now_s;
        check_times_s.rev().map(|at_s| self.health_at(rules, last_report, at_s)).collect()
    }

    fn is_closed(&self) -> bool {
        self.join_status == "closed"
    }

    /// Copies what the server chose.
    pub fn adopt(&mut self, seen: &Value) {
        self.id = self.id.take().or_else(|| seen["instance_id"].as_str().map(str::to_owned));
        if let Some(startup) = self.startup.as_mut().filter(|startup| startup["map"].is_null()) {
            // If the server drew another map, this stays null and the comparison fails.
            let drawn = MAPS.into_iter().find(|map| seen["instance_startup_params"]["map"] == **map);
            startup["map"] = json!(drawn);
        }
    }
}

impl Session {
    /// Hosts are the player who hosts the instance and the player who registered it, while they are active in the
    /// session. If neither is active, the leader is the host of an instance that a player registered.
    fn require_host(&self, caller: Caller) -> Result<(), Refusal> {
        let Some(instance) = &self.instance else {
            self.require_active(caller)?;
            return Err(Refusal(404, "instance_not_found"));
        };
        let hosts = [instance.host, instance.registrar];
        let is_active_host = |player: usize| hosts.contains(&Some(player)) && self.is_active(player);
        let stands_in = |player| {
            let registered = instance.registrar.is_some();
            registered && !hosts.into_iter().flatten().any(is_active_host) && self.leads(player)
        };
        let is_host = caller.player.is_some_and(|player| is_active_host(player) || stands_in(player));
        if caller.any || is_host { Ok(()) } else { Err(Refusal(403, "not_session_host")) }
    }

    fn require_hosted_instance(&mut self, caller: Caller) -> Result<&mut Instance, Refusal> {
        self.require_host(caller)?;
        self.instance.as_mut().ok_or(Refusal(404, "instance_not_found"))
    }

    /// What follows from the end of the instance: a session that a service made ends too if nobody is in it.
    pub fn end_after_instance(&mut self, setup: &Setup) {
        let is_used = self.entries.iter().any(Entry::is_active);
        self.ended |= self.by_service && !is_used && !setup.settings.keep_alive;
    }

    /// Removes the instance if this player hosts it.
    pub fn remove_instance_hosted_by(&mut self, player: usize) {
        self.instance = self.instance.take().filter(|instance| instance.host != Some(player));
    }
}

/// The instance that a caller requests. A template overrides the other fields.
fn requested_instance(
    setup: &Setup,
    caller: Caller,
    instance_request: &InstanceRequest,
    now_s: i64,
) -> Result<Instance, Refusal> {
    if instance_request.template == Some(false) {
        return Err(Refusal(404, "instance_template_not_found"));
    }
    let by_template = instance_request.template.is_some();
    let host_type = if by_template { setup.settings.template_host } else { instance_request.host_type };
    let is_player = matches!(host_type, "player" | "standalone");
    let host = instance_request.host.or(caller.player).filter(|_| is_player);
    if is_player && host.is_none() {
        return Err(Refusal(403, "player_required"));
    }
    let own = caller.player.filter(|_| host.is_some() && host == caller.player);
    // The server draws the map of the template.
    let drawn = json!({ "map": null, "misc_params": "-log", "custom_data": {} });
    let given = json!({ "map": "Mine", "mode": "arena", "misc_params": "", "custom_data": {} });
    let mut data = instance_request.data.clone();
    if by_template && data.is_empty() {
        data = Data::from([("tier".into(), "gold".into())]);
    }
    Ok(Instance {
        id: instance_request.id.map(str::to_owned),
        host_type,
        host,
        host_player_id: own.and_then(|own| setup.players[own].player_id),
        registrar: caller.player,
        allocation: None,
        join_status: if is_player || host_type == "preallocated" { "pending" } else { "requested" },
        address: None,
        startup: if by_template { Some(drawn) } else { instance_request.startup.then_some(given) },
        version: None,
        match_id: None,
        created_s: now_s,
        data,
        health: None,
        last_report: None,
        counted_at_s: Vec::new(),
    })
}

/// The instance that new sessions of players start with.
pub fn first_instance(setup: &Setup, caller: Caller, now_s: i64) -> Option<Instance> {
    let startup = setup.settings.auto_start;
    let instance_request = InstanceRequest {
        id: None,
        host_type: "dedicated",
        host: None,
        template: (startup == AutoStart::Template).then_some(true),
        startup: startup == AutoStart::Params,
        data: Data::new(),
    };
    if startup == AutoStart::No {
        None
    } else {
        requested_instance(setup, caller, &instance_request, now_s).ok()
    }
}

/// Changes an instance. Returns whether that closes it.
fn update(instance: &mut Instance, change: &InstanceChange) -> Result<bool, Refusal> {
    let was_closed = instance.is_closed();
    // The first allocation stays, and all later updates must name it.
    if instance.allocation.is_some() && instance.allocation != change.allocation {
        return Err(Refusal(403, "allocation_mismatch"));
    }
    instance.join_status = change.join_status.unwrap_or(instance.join_status);
    if was_closed && !instance.is_closed() {
        return Err(Refusal(403, "instance_closed"));
    }
    if instance.is_closed() {
        (instance.allocation, instance.health, instance.last_report) = (None, None, None);
        instance.counted_at_s.clear();
    } else {
        instance.allocation = change.allocation;
    }
    instance.address = change.address.or(instance.address);
    instance.version = change.version.or(instance.version);
    instance.match_id = change.match_id.or(instance.match_id);
    if let Some(data) = &change.data {
        instance.data = data.clone();
    }
    Ok(instance.is_closed() && !was_closed)
}

impl Model {
    pub fn instance_step(&mut self, resolved: &ResolvedStep<'_>) -> ExpectedAnswer {
        let (caller, name) = (resolved.caller, resolved.session);
        match resolved.step {
            Step::RequestInstance { instance_request, .. } => {
                self.request_instance(caller, name, instance_request, resolved.reply)
            }
            Step::UpdateInstance { change, .. } => self.update_instance(caller, name, change),
            Step::EndInstance { .. } => self.change(name, |session, setup, _| {
                session.require_hosted_instance(caller)?;
                session.instance = None;
                session.end_after_instance(setup);
                Ok(Answer::Empty(ExpectedEtag::Session(session.id.clone())))
            }),
            Step::ReportHealth { instance, health, .. } => self.change(name, |session, setup, now_s| {
                let running = session.instance.as_ref().filter(|instance| !instance.is_closed());
                let named = running.and_then(|instance| instance.id.as_ref());
                if named != Some(instance) {
                    return Err(Refusal(404, "instance_not_found"));
                }
                // Services may report for any instance.
                if caller.player.is_some() {
                    session.require_host(caller)?;
                }
                let instance = session.instance.as_mut().expect("it was named");
                instance.report(&setup.settings.health, health, now_s);
                Ok(Answer::Body(json!({ "updated_instance_health": instance.health }), ExpectedEtag::None))
            }),
            other => unreachable!("{other:?} is not about an instance"),
        }
    }

    fn request_instance(
        &mut self,
        caller: Caller,
        name: &str,
        instance_request: &InstanceRequest,
        reply: &Value,
    ) -> ExpectedAnswer {
        let instance = match requested_instance(&self.setup, caller, instance_request, self.now_s) {
            // The status of the caller is checked first.
            Err(no @ Refusal(404, _)) => Err(no),
            instance => Ok(instance?),
        };
        self.change(name, |session, setup, _| {
            session.require_leader(caller)?;
            let mut instance = instance?;
            instance.adopt(reply);
            let stays = |present: &Instance| !present.is_closed() || present.id == instance.id;
            if session.instance.as_ref().is_some_and(stays) {
                return Err(Refusal(403, "instance_exists"));
            }
            if let Some(host) = instance.host {
                let seen = as_seen(setup, caller, session, &[host]);
                let entry = seen.require_entry(host)?;
                if !entry.is_active() {
                    return Err(Refusal(403, "player_not_active"));
                }
                instance.host_player_id = instance.host_player_id.or(entry.player_id);
            }
            session.instance = Some(instance);
            Ok(session.clone())
        })
        .map(|changed| self.instance_answer(&changed))
    }

    fn update_instance(&mut self, caller: Caller, name: &str, change: &InstanceChange) -> ExpectedAnswer {
        let holder = change.allocation.and_then(|allocation| self.session_of_allocation(allocation));
        let holder = holder.map(|session| session.id.clone());
        self.change(name, |session, setup, _| {
            let instance = session.require_hosted_instance(caller)?;
            let is_closed = update(instance, change)?;
            let takes = instance.allocation.is_some();
            if is_closed {
                session.end_after_instance(setup);
            }
            let is_free = !takes || holder.is_none_or(|holder| holder == session.id);
            if is_free { Ok(session.clone()) } else { Err(Refusal(403, "allocation_in_use")) }
        })
        .map(|changed| self.instance_answer(&changed))
    }

    /// The answer to a change of a session's instance.
    fn instance_answer(&self, changed: &Session) -> Answer {
        let view = self.instance_view(changed, true);
        Answer::Body(view.expect("it has an instance"), ExpectedEtag::None)
    }

    fn session_of_allocation(&self, allocation: usize) -> Option<&Session> {
        let has_it = |session: &&Session| {
            session.instance.as_ref().is_some_and(|instance| instance.allocation == Some(allocation))
        };
        self.sessions.iter().find(has_it)
    }

    /// The session of an allocation, in the view of the caller. This is a read of the session.
    pub fn read_allocation(&mut self, caller: Caller, allocation: usize) -> ExpectedAnswer {
        if !caller.any {
            return Err(Refusal(403, "permission_denied"));
        }
        let session =
            self.session_of_allocation(allocation).ok_or(Refusal(404, "session_not_found"))?.clone();
        self.note_read(caller, &session.id, true);
        Ok(Answer::Body(self.session_view(caller, &session), ExpectedEtag::Body))
    }

    /// The instance. Outsiders do not see how to connect to it, nor its host's numeric id.
    pub fn instance_view(&self, session: &Session, full: bool) -> Option<Value> {
        let instance = session.instance.as_ref()?;
        let mut view = json!({
            "instance_id": instance.id, "host_type": instance.host_type,
            "join_status": instance.join_status, "created": time(instance.created_s),
            "custom_data": instance.data,
        });
        set(&mut view, "host_player_uuid", instance.host.map(|host| self.uuid(host).into()));
        set(&mut view, "version", instance.version.map(Value::from));
        set(&mut view, "match_id", instance.match_id.map(Value::from));
        set(&mut view, "instance_health", instance.health.map(Value::from));
        set(&mut view, "allocation_id", instance.allocation.map(|at| ALLOCATIONS[at].into()));
        set(&mut view, "instance_startup_params", instance.startup.clone());
        if full {
            set(&mut view, "host_player_id", instance.host_player_id.map(Value::from));
            let join_params = |address| json!({ "public_conn_str": address, "private_conn_str": "10.0.0.1", "custom_data": {} });
            set(&mut view, "join_params", instance.address.map(join_params));
        }
        Some(view)
    }
}
