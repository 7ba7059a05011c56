use super::*;
use crate::domain::CustomData;
use crate::domain::client::{CrossplayInput, CrossplayPlatform};
use crate::domain::fixtures::{at_s, by, client, join_rules, joiner, player, session, set_client};
use crate::domain::matchmaking::rank::Finite;
use crate::domain::matchmaking::{MmrGrouping, Profile, Queue, Rank, RankSource, TemplateGroup};
use crate::domain::session::invite::{Invite, Overflow};
use crate::domain::session::join::{JoinPath, JoinRules, Joiner};
use crate::domain::session::{Status, TeamChange};

const RANK: Uuid = Uuid::from_u128(0xf1);

/// The queue `solo` takes one player, `any` five, `closed` is not active. Parties of at most two enter `small` and
/// `big`, others `big`. `eu` has a template for parties in that region only.
const CONFIG: &str = r#"
    [queues.solo]
    max_queue_group_size = 1
    match_making_template_group_id = "00000000-0000-0000-0000-0000000000a1"
    [queues.any]
    max_queue_group_size = 5
    match_making_template_group_id = "00000000-0000-0000-0000-0000000000a1"
    [queues.closed]
    active = false
    match_making_template_group_id = "00000000-0000-0000-0000-0000000000a1"
    [queues.eu]
    match_making_template_group_id = "00000000-0000-0000-0000-0000000000a2"

    [[groups.00000000-0000-0000-0000-0000000000a1.templates]]
    mmr_grouping_method = "worst"
    profiles = ["small", "big"]
    [groups.00000000-0000-0000-0000-0000000000a1.templates.ruleset]
    rules = [{ rule_type = "JoiningSessionSize", comparison_operation = "le", comparison_value = 2 }]
    [[groups.00000000-0000-0000-0000-0000000000a1.templates]]
    profiles = ["big", "inactive"]
    [[groups.00000000-0000-0000-0000-0000000000a2.templates]]
    profiles = ["tagged", "big"]
    [groups.00000000-0000-0000-0000-0000000000a2.templates.ruleset]
    rules = [{ rule_type = "RegionList", comparison_operation = "in_set", comparison_value_set = ["eu"] }]

    [profiles.small]
    max_players_per_side = 2
    [profiles.big]
    max_players_per_side = 4
    rank_id = "00000000-0000-0000-0000-0000000000f1"
    [profiles.inactive]
    active = false
    max_players_per_side = 8
    [profiles.tagged]
    max_players_per_side = 4
    pools = [{ tags_present = ["ranked"] }]
"#;

fn matchmaking(from: RankSource) -> Matchmaking {
    #[derive(serde::Deserialize)]
    struct Config {
        queues: BTreeMap<String, Queue>,
        groups: BTreeMap<Uuid, TemplateGroup>,
        profiles: BTreeMap<String, Profile>,
    }
    let Config { queues, groups, profiles } = toml::from_str(CONFIG).unwrap();
    let ranks = [(RANK, Rank { from, ..Rank::default() })].into();
    Matchmaking { ranks, queues, template_groups: groups, profiles, ..Matchmaking::default() }
}

fn request(queues: &[&str]) -> QueueRequest {
    QueueRequest { queue_ids: queues.iter().map(|id| (*id).to_owned()).collect(), ..QueueRequest::default() }
}

/// What the tests change of the rules.
struct Rules {
    matchmaking: Matchmaking,
    is_allowed: bool,
    regions: BTreeMap<String, Region>,
    version_check: VersionCheck,
    plays_on: Option<(PlayerUuid, Platform)>,
    bans: Bans,
    caller_claims: Option<(PlayerUuid, Claims)>,
    profiles_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            matchmaking: matchmaking(RankSource::Service),
            is_allowed: true,
            regions: [("eu".to_owned(), Region::default())].into(),
            version_check: VersionCheck::Off,
            plays_on: None,
            bans: Bans::default(),
            caller_claims: None,
            profiles_max: 32,
        }
    }
}

impl Rules {
    fn join(
        &self,
        session: &mut Session,
        actor: Actor,
        request: &QueueRequest,
    ) -> Result<Arc<Ticket>, Refused> {
        let template = Template { can_join_matchmaking: self.is_allowed, ..Template::default() };
        let rules = QueueRules {
            now: at_s(100),
            ticket_id: Uuid::from_u128(7),
            template: Some(&template),
            regions: &self.regions,
            matchmaking: &self.matchmaking,
            version_check: self.version_check,
            bans: &self.bans,
            plays_on: self.plays_on,
            caller_claims: self.caller_claims.as_ref().map(|(player, claims)| (*player, claims)),
            passed_s_max: 300,
            profiles_max: self.profiles_max,
        };
        session.join_queue(actor, request, &rules)
    }

    #[track_caller]
    fn refuses(&self, session: &Session, actor: Actor, request: &QueueRequest, expected: &Refused) {
        let mut after = session.clone();
        assert_eq!(self.join(&mut after, actor, request).as_ref(), Err(expected));
        assert!(after.matchmaking.is_none());
    }
}

/// A party of these active players, in the queue `any`.
fn queued(roster: &str) -> Session {
    let mut party = session(roster);
    for number in [1, 2, 3] {
        if party.is_active(player(number)) {
            set_client(&mut party, number, client(Platform::Steam));
        }
    }
    Rules::default().join(&mut party, by(1), &request(&["any"])).unwrap();
    party
}

#[test]
fn a_ticket_has_all_that_the_party_asked_for() {
    let mut party = session("L2 M1 I3");
    let asked = QueueRequest {
        params: JoinParams { tags: vec!["ranked".into()], ..JoinParams::default() },
        map_preferences: vec!["Dunes".into()],
        passed_s: 301,
        ..request(&["eu", "any"])
    };
    let ticket = Rules::default().join(&mut party, by(2), &asked).unwrap();
    assert_eq!(party.matchmaking, Some(Arc::clone(&ticket)));
    assert_eq!(ticket.queue_ids, ["eu", "any"]);
    assert_eq!(ticket.profile_ids, ["tagged", "big", "small"], "in order, each once");
    assert_eq!((&ticket.params, &ticket.map_preferences), (&asked.params, &asked.map_preferences));
    assert_eq!((ticket.passed_s, ticket.enqueued), (300, at_s(100)), "what a player claims is cut");
    assert_eq!(ticket.players, [player(1), player(2)], "the invited player is not in it");
    assert_eq!(ticket.skills, [("big".to_owned(), 25.0)].into());
    let trusted = Rules::default().join(&mut session("L1"), Actor::Anyone, &asked).unwrap();
    assert_eq!(trusted.passed_s, 301);
    let few = Rules { profiles_max: 2, ..Rules::default() };
    assert_eq!(few.join(&mut session("L1"), by(1), &asked).unwrap().profile_ids, ["tagged", "big"]);
}

#[test]
fn the_same_request_again_gives_the_same_ticket() {
    let mut party = queued("L1 M2");
    let ticket = party.matchmaking.clone().unwrap();
    let again = QueueRequest { passed_s: 9, ..request(&["any"]) };
    assert_eq!(Rules::default().join(&mut party, by(1), &again).unwrap(), ticket);
    let tagged = JoinParams { tags: vec!["t".into()], ..JoinParams::default() };
    for other in [
        request(&["solo"]),
        QueueRequest { params: tagged, ..request(&["any"]) },
        QueueRequest { map_preferences: vec!["Dunes".into()], ..request(&["any"]) },
    ] {
        let refused = Rules::default().join(&mut party, by(1), &other);
        assert_eq!(refused, Err(Refused::AlreadyInQueue));
    }
    party.leave_queue(by(1), TicketEnd::LeftQueue).unwrap();
    assert_eq!(party.leave_queue(by(1), TicketEnd::LeftQueue), Err(Refused::NotInQueue));
}

#[test]
fn refusals_come_in_order() {
    let rules = Rules::default;
    let pair = session("L1 M2");
    let unknown = request(&["any", "none"]);
    rules().refuses(&pair, by(3), &unknown, &Refused::NotActiveInSession);
    rules().refuses(&pair, by(2), &unknown, &Refused::NotSessionLeader);
    let not_allowed = Rules { is_allowed: false, ..rules() };
    not_allowed.refuses(&pair, by(1), &unknown, &Refused::MatchmakingNotAllowed);
    rules().refuses(&session("I3"), Actor::Anyone, &unknown, &Refused::QueueGroupEmpty);
    let custom = Region { custom_only: true, ..Region::default() };
    let custom = Rules { regions: [("eu".to_owned(), custom)].into(), ..rules() };
    custom.refuses(&pair, by(1), &unknown, &Refused::QueueNotFound("none".into()));
    custom.refuses(&pair, by(1), &request(&["closed", "none"]), &Refused::QueueInactive("closed".into()));
    custom.refuses(&pair, by(1), &request(&["solo", "none"]), &Refused::QueueGroupTooLarge("solo".into(), 1));
    custom.refuses(&pair, by(1), &request(&["any"]), &Refused::RegionCustomOnly);
    let mut elsewhere = pair.clone();
    elsewhere.region_id = Some("us".into());
    rules().refuses(&elsewhere, by(1), &request(&["any", "eu"]), &Refused::NoMatchingTemplate("eu".into()));
    rules().join(&mut elsewhere, by(1), &request(&["any"])).unwrap();
    let five = session("L1 M2 M3 M4 M5");
    rules().refuses(&five, by(1), &request(&["any"]), &Refused::NoMatchingProfile);
}

#[test]
fn players_of_a_party_must_fit_together() {
    let exact = Rules { version_check: VersionCheck::Exact, ..Rules::default() };
    let mut pair = session("L1 M2");
    exact.refuses(&pair, by(1), &request(&["any"]), &Refused::VersionMismatch);
    set_client(&mut pair, 1, client(Platform::Steam));
    exact.refuses(&pair, by(1), &request(&["any"]), &Refused::VersionMismatch);
    set_client(&mut pair, 2, Client { version: "1.1".into(), ..client(Platform::Steam) });
    exact.refuses(&pair, by(1), &request(&["any"]), &Refused::VersionMismatch);
    let major_minor = Rules { version_check: VersionCheck::MajorMinor, ..Rules::default() };
    set_client(&mut pair, 2, Client { version: "1.0.7".into(), ..client(Platform::Steam) });
    let ticket = major_minor.join(&mut pair.clone(), by(1), &request(&["any"])).unwrap();
    assert_eq!(ticket.version_group, "1.0");
    let any_version = Rules::default().join(&mut pair.clone(), by(1), &request(&["any"])).unwrap();
    assert_eq!(any_version.version_group, "");

    // A gamepad alone, with a keyboard: whoever of the two says so.
    let pads = CrossplayPreferences {
        permitted_platform: CrossplayPlatform::Any,
        permitted_input: CrossplayInput::Gamepad,
    };
    let keyboard = Client { input: Input::KeyboardAndMouse, ..client(Platform::Steam) };
    for (one, other) in [(1, 2), (2, 1)] {
        let mut pair = pair.clone();
        set_client(&mut pair, one, Client { crossplay: Some(pads), ..client(Platform::Steam) });
        set_client(&mut pair, other, keyboard.clone());
        Rules::default().refuses(&pair, by(1), &request(&["any"]), &Refused::CrossplayMismatch);
    }
    let mut unknown = session("L1 M2");
    set_client(&mut unknown, 1, Client { crossplay: Some(pads), ..client(Platform::Steam) });
    Rules::default().refuses(&unknown, by(1), &request(&["any"]), &Refused::CrossplayMismatch);
    // The platform of the token counts, not the one of the join.
    let xbox = CrossplayPreferences {
        permitted_platform: CrossplayPlatform::XboxLike,
        permitted_input: CrossplayInput::Any,
    };
    let mut pair = session("L1 M2");
    set_client(&mut pair, 1, client(Platform::Steam));
    set_client(&mut pair, 2, Client { crossplay: Some(xbox), ..client(Platform::XboxLive) });
    Rules::default().refuses(&pair, by(1), &request(&["any"]), &Refused::CrossplayMismatch);
    let on_xbox = Rules { plays_on: Some((player(1), Platform::XboxLive)), ..Rules::default() };
    on_xbox.join(&mut pair, by(1), &request(&["any"])).unwrap();
}

#[test]
fn the_skill_of_a_party_is_what_a_trusted_caller_says() {
    let skill = |from: &RankSource, actor, arg: Option<(Uuid, f64)>| {
        let rules = Rules { matchmaking: matchmaking(from.clone()), ..Rules::default() };
        let double_args = arg.map(|(id, mu)| (id.to_string().to_uppercase(), mu)).into_iter().collect();
        let params = JoinParams { double_args, ..JoinParams::default() };
        let asked = QueueRequest { params, ..request(&["any"]) };
        rules.join(&mut session("L1"), actor, &asked).unwrap().skills["big"]
    };
    let (service, anyone) = (&RankSource::Service, &RankSource::Anyone);
    assert_eq!(skill(service, Actor::Anyone, Some((RANK, 30.0))), 30.0);
    assert_eq!(skill(service, by(1), Some((RANK, 30.0))), 25.0, "a player of ranked play");
    assert_eq!(skill(anyone, by(1), Some((RANK, 30.0))), 30.0);
    assert_eq!(skill(anyone, by(1), Some((RANK, 99.0))), 50.0, "within the bounds of the rank");
    assert_eq!(skill(anyone, by(1), Some((Uuid::from_u128(2), 30.0))), 25.0, "of another rank");
    assert_eq!(skill(anyone, by(1), None), 25.0);
}

/// The skill of a party of two, whose players have these claims.
fn skill_by_claims(
    method: MmrGrouping,
    claims: [&[(&str, f64)]; 2],
    rules: Rules,
    request: &QueueRequest,
) -> f64 {
    let mut rules = rules;
    let rank =
        toml::from_str("from = \"claim:mmr\"\nsigma_from = \"claim:dev\"\nsigma_default = 1.0").unwrap();
    rules.matchmaking.ranks.insert(RANK, rank);
    let groups = rules.matchmaking.template_groups.values_mut();
    groups.flat_map(|group| &mut group.templates).for_each(|template| template.mmr_grouping_method = method);
    let mut party = session("L1 M2");
    for (number, claims) in [1, 2].into_iter().zip(claims) {
        let entry = party.players.get_mut(&player(number)).unwrap();
        Arc::make_mut(entry).claims = numbers(claims);
    }
    rules.join(&mut party, by(1), request).unwrap().skills["big"]
}

fn numbers(claims: &[(&str, f64)]) -> Claims {
    claims.iter().map(|(name, number)| ((*name).to_owned(), Finite::new(*number).unwrap())).collect()
}

#[test]
fn the_skill_of_a_party_follows_from_its_players_claims() {
    let both: [&[(&str, f64)]; 2] = [&[("mmr", 10.0), ("dev", 3.0)], &[("mmr", 40.0)]];
    let skill = |method| skill_by_claims(method, both, Rules::default(), &request(&["any"]));
    assert_eq!(skill(MmrGrouping::Worst), 10.0);
    assert_eq!(skill(MmrGrouping::Best), 40.0);
    assert_eq!(skill(MmrGrouping::Avg), 25.0);
    assert_eq!(skill(MmrGrouping::AvgWeightedBySigma), (10.0 * 9.0 + 40.0) / 10.0);
    // Who has no claim counts with the default, and nobody exceeds the bounds of the rank.
    let one: [&[(&str, f64)]; 2] = [&[("mmr", 99.0)], &[]];
    assert_eq!(skill_by_claims(MmrGrouping::Avg, one, Rules::default(), &request(&["any"])), 37.5);
    // The leader's newest token counts.
    let rules = Rules { caller_claims: Some((player(1), numbers(&[("mmr", 20.0)]))), ..Rules::default() };
    assert_eq!(skill_by_claims(MmrGrouping::Worst, both, rules, &request(&["any"])), 20.0);
    // A player's word does not.
    let params = JoinParams { double_args: [(RANK.to_string(), 50.0)].into(), ..JoinParams::default() };
    let boast = QueueRequest { params, ..request(&["any"]) };
    assert_eq!(skill_by_claims(MmrGrouping::Avg, both, Rules::default(), &boast), 25.0);
}

#[test]
fn joiners_bring_their_claims() {
    let mut party = session("L1");
    party.joinability.open = true;
    let with = |claims| Joiner { claims, ..joiner(2) };
    for (claims, expected) in
        [(numbers(&[("mmr", 7.0)]), 7.0), (Claims::new(), 7.0), (numbers(&[("mmr", 8.0)]), 8.0)]
    {
        party.join(&with(claims), JoinPath::Session, join_rules()).unwrap();
        assert_eq!(party.players[&player(2)].claims, numbers(&[("mmr", expected)]));
    }
}

/// Applies a change to a party in a queue. Expects whether and why its ticket ends.
#[track_caller]
fn check<T>(before: &Session, change: impl FnOnce(&mut Session) -> T, expected: Option<TicketEnd>) {
    let mut after = before.clone();
    change(&mut after);
    let ticket = before.matchmaking.clone().unwrap();
    assert_eq!(after.settle_ticket(before), expected.map(|end| (ticket, end)));
    assert_eq!(after.matchmaking.is_some(), expected.is_none());
    assert_eq!(after.ticket_end, None, "it is never stored");
}

#[test]
fn a_change_of_the_party_ends_its_ticket() {
    let party = queued("L1 M2 I3 R4");
    let changed = Some(TicketEnd::PartyChanged);
    let rules = JoinRules {
        now: at_s(200),
        version_check: VersionCheck::Off,
        trust_friends: false,
        kicked_need_invite: true,
    };
    check(&party, |session| session.leave(player(2), at_s(150)), changed);
    check(&party, |session| session.leave(player(1), at_s(150)), changed);
    check(&party, |session| session.kick(by(1), player(2), at_s(150)), changed);
    check(&party, |session| session.expire_inactive(&[player(2)], &[], None, at_s(150)), changed);
    let mut room = party.clone();
    room.teams[0].max_size = 9;
    check(&room, |session| session.join(&joiner(3), JoinPath::Session, rules).unwrap(), changed);
    check(&party, |session| session.region_id = Some("us".into()), changed);
    check(&party, |session| session.region_id = None, changed);
    check(&party, |session| session.note_platform(player(2), Platform::PSN), changed);
    for other in [
        Client { version: "2".into(), ..client(Platform::Steam) },
        Client { input: Input::Touch, ..client(Platform::Steam) },
        Client {
            crossplay: Some(CrossplayPreferences {
                permitted_platform: CrossplayPlatform::Any,
                permitted_input: CrossplayInput::Any,
            }),
            ..client(Platform::Steam)
        },
    ] {
        check(&party, |session| set_client(session, 2, other), changed);
    }
    // One came, another one went: as many as before.
    let swap = |session: &mut Session| {
        session.leave(player(2), at_s(150)).unwrap();
        session.join(&joiner(3), JoinPath::Session, rules).unwrap();
    };
    check(&party, swap, changed);
}

#[test]
fn what_does_not_change_the_party_leaves_its_ticket() {
    let party = queued("L1 M2 I3 R4 | -");
    check(&party, |_| (), None);
    check(&party, |session| session.promote(by(1), player(2)).unwrap(), None);
    check(&party, |session| session.move_to(by(1), player(2), Some(1), true).unwrap(), None);
    check(&party, |session| session.custom_data = CustomData::from([("a".into(), "b".into())]), None);
    check(&party, |session| session.update_player(by(1), player(2), CustomData::new()).unwrap(), None);
    check(&party, |session| session.leave(player(3), at_s(150)).unwrap(), None);
    check(&party, |session| session.expire_inactive(&[], &[player(4)], None, at_s(150)), None);
    let invite = Invite {
        reserve: false,
        team_id: Some(1),
        overflow: Overflow::Fail,
        custom_data: CustomData::new(),
        inviting_player: None,
        source_session: None,
        now: at_s(200),
    };
    check(&party, |session| session.invite(by(1), player(5), &invite).unwrap(), None);
    let team = TeamChange { max_size: Some(9), custom_data: None };
    check(&party, |session| session.update_team(by(1), 1, team).unwrap(), None);
    let device =
        Client { device_type: Some(crate::domain::client::DeviceType::Pc), ..client(Platform::Steam) };
    check(&party, |session| set_client(session, 2, device), None);
}

#[test]
fn a_ticket_ends_for_the_reason_that_is_given() {
    let party = queued("L1 M2");
    check(&party, |session| session.leave_queue(by(1), TicketEnd::LeftQueue), Some(TicketEnd::LeftQueue));
    check(&party, |session| session.end_ticket(TicketEnd::Timeout), Some(TicketEnd::Timeout));
    check(&party, |session| session.end_ticket(TicketEnd::Assigned), Some(TicketEnd::Assigned));
    let mut ended = party.clone();
    ended.end();
    assert_eq!(ended.settle_ticket(&party).map(|(_, end)| end), Some(TicketEnd::LeftQueue));
    // A party that leaves and queues again in one change has another ticket.
    let again = |session: &mut Session| {
        session.leave_queue(by(1), TicketEnd::LeftQueue).unwrap();
        let ticket = Ticket { id: Uuid::from_u128(8), ..(*party.matchmaking.clone().unwrap()).clone() };
        session.matchmaking = Some(Arc::new(ticket));
    };
    let mut after = party.clone();
    again(&mut after);
    assert_eq!(after.settle_ticket(&party).map(|(_, end)| end), Some(TicketEnd::LeftQueue));
    assert_eq!(after.matchmaking.as_ref().map(|ticket| ticket.id), Some(Uuid::from_u128(8)));
    let mut idle = session("L1");
    assert_eq!(idle.settle_ticket(&session("L1")), None);
}

#[test]
fn a_change_that_an_older_version_made_is_noticed_by_the_next_one() {
    let mut before = queued("L1 M2");
    // It removed a player, and left the ticket.
    before.players.remove(&player(2));
    check(&before, |_| (), Some(TicketEnd::PartyChanged));
    let mut before = queued("L1 M2");
    before.put_entry(player(5), Status::Member, 0);
    check(&before, |_| (), Some(TicketEnd::PartyChanged));
}

#[test]
fn a_deserter_keeps_the_party_out_of_the_queues_of_its_profiles() {
    let [kind, other] = [0xd1, 0xd2].map(Uuid::from_u128);
    let mut rules = Rules::default();
    rules.matchmaking.profiles.get_mut("big").unwrap().deserter_id = Some(kind);
    let party = || {
        let mut party = session("L1 M2");
        for number in [1, 2] {
            set_client(&mut party, number, client(Platform::Steam));
        }
        party
    };
    let banned = |kind, until_s| Bans::new([player(1), player(2)], [((player(2), kind), at_s(until_s))]);
    // Nothing is known of a player who has joined meanwhile.
    rules.bans = Bans::new([player(1)], []);
    rules.refuses(&party(), by(1), &request(&["any"]), &Refused::DesertersUnread);
    rules.bans = banned(kind, 101);
    let refused = Refused::PlayerIsDeserter(player(2), at_s(101));
    rules.refuses(&party(), by(1), &request(&["any"]), &refused);
    rules.refuses(&party(), Actor::Anyone, &request(&["any"]), &refused);
    for bans in [banned(kind, 100), banned(other, 999)] {
        rules.bans = bans;
        rules.join(&mut party(), by(1), &request(&["any"])).unwrap();
    }
    // Also a profile that does not take this party counts, if its template does. Those of other templates do not.
    rules.matchmaking.profiles.get_mut("big").unwrap().deserter_id = None;
    rules.bans = banned(kind, 101);
    rules.matchmaking.profiles.get_mut("inactive").unwrap().deserter_id = Some(kind);
    rules.join(&mut party(), by(1), &request(&["any"])).unwrap();
    let mut three = session("L1 M2 M3");
    for number in [1, 2, 3] {
        set_client(&mut three, number, client(Platform::Steam));
    }
    rules.bans = Bans::new([1, 2, 3].map(player), [((player(3), kind), at_s(101))]);
    let refused = Refused::PlayerIsDeserter(player(3), at_s(101));
    rules.refuses(&three, by(1), &request(&["any"]), &refused);
}
