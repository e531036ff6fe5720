//! The authenticator's port: CONNECT is put to it, AUTH goes to and fro
//! (MQTT 5.0 §4.12).

use noctule_packets::{
    Auth, Connect, Error, Packet, PropertyBuffer, PropertyId, ReasonCode, Version,
};

use super::Worker;
use super::connack::Refusal;
use super::connect::Admission;
use super::disconnect::Cause;
use crate::connection::{Stage, pause};
use crate::effect::{AuthenticationRequest, AuthenticationStage, Decision, Effect, WillInfo};
use crate::key::ConnectionId;
use crate::time::Time;

impl Worker {
    /// Puts a CONNECT to the authenticator; nothing is read until it answers.
    pub(super) fn begin_authentication(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        body: &[u8],
    ) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.stage = Stage::Authenticating;
        let method = connect.properties.string(PropertyId::AuthenticationMethod);
        let rare = connection.rare();
        rare.connect = body.to_vec();
        rare.authentication_method = method.map(Into::into);
        let request = AuthenticationRequest {
            stage: AuthenticationStage::Connect,
            client_identifier: connect.client_identifier.into(),
            user_name: connect.user_name.map(Into::into),
            password: connect.password.map(Into::into),
            method: method.map(Into::into),
            data: connect
                .properties
                .binary(PropertyId::AuthenticationData)
                .map(Into::into),
            version: connect.version,
            peer: connection.peer.clone(),
            clean_start: connect.clean_start,
            keep_alive_seconds: connect.keep_alive,
            session_expiry_seconds: 0,
            will: connect.will.as_ref().map(|will| WillInfo {
                topic: will.topic.into(),
                qos: will.qos,
                retain: will.retain,
            }),
        };
        let request = AuthenticationRequest {
            session_expiry_seconds: self.session_expiry(id, connect),
            ..request
        };
        self.ask(id, request);
    }

    fn ask(&mut self, id: ConnectionId, request: AuthenticationRequest) {
        self.pause(id, pause::AUTHENTICATION);
        self.effects
            .push_back(Effect::Authenticate(id, Box::new(request)));
    }

    /// AUTH from a client: the next step of an exchange, or the first of a
    /// re-authentication.
    pub(super) fn handle_auth(&mut self, id: ConnectionId, auth: Auth<'_>) -> Result<(), Error> {
        let Some(connection) = self.connection(id) else {
            return Ok(());
        };
        let (stage, version, peer) = (
            connection.stage,
            connection.version,
            connection.peer.clone(),
        );
        let key = connection.session;
        let agreed = connection
            .rare
            .as_ref()
            .and_then(|rare| rare.authentication_method.clone());
        let Some(agreed) = agreed else {
            return Err(Error::protocol_error(
                "AUTH without an authentication method in CONNECT",
            ));
        };
        let method = auth.properties.string(PropertyId::AuthenticationMethod);
        if method != Some(&agreed) {
            return Err(Error::protocol_error(
                "AUTH with another authentication method than CONNECT",
            ));
        }
        let again = connection
            .rare
            .as_ref()
            .is_some_and(|rare| rare.reauthenticating);
        let asks = match (stage, auth.reason) {
            (Stage::Authenticating, ReasonCode::CONTINUE_AUTHENTICATION) => {
                AuthenticationStage::Continue
            }
            (Stage::Open, ReasonCode::CONTINUE_AUTHENTICATION) if again => {
                AuthenticationStage::Continue
            }
            (Stage::Open, ReasonCode::RE_AUTHENTICATE) if !again => {
                AuthenticationStage::Reauthenticate
            }
            _ => return Err(Error::protocol_error("AUTH with a reason code out of turn")),
        };
        connection.rare().reauthenticating = stage == Stage::Open;
        let client_identifier = match self.session(key) {
            Some(session) => (*session.client).into(),
            None => self.announced_client(id),
        };
        let request = AuthenticationRequest {
            stage: asks,
            client_identifier,
            user_name: None,
            password: None,
            method: Some(agreed),
            data: auth
                .properties
                .binary(PropertyId::AuthenticationData)
                .map(Into::into),
            version,
            peer,
            clean_start: false,
            keep_alive_seconds: 0,
            session_expiry_seconds: 0,
            will: None,
        };
        self.ask(id, request);
        Ok(())
    }

    /// The client identifier of a CONNECT that waits for its authenticator.
    fn announced_client(&mut self, id: ConnectionId) -> Box<str> {
        let waiting = self
            .connection(id)
            .and_then(|connection| connection.rare.as_ref());
        let connect = waiting.and_then(|rare| Connect::decode(0, &rare.connect).ok());
        connect.map_or_else(Box::default, |connect| connect.client_identifier.into())
    }

    /// What the authenticator says.
    pub(super) fn handle_decision(&mut self, id: ConnectionId, decision: Decision, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        match connection.stage {
            Stage::Authenticating => self.decide_connect(id, decision, now),
            Stage::Open => self.decide_again(id, decision, now),
            Stage::New | Stage::Closing => return,
        }
        self.resume(id, pause::AUTHENTICATION);
    }

    fn decide_connect(&mut self, id: ConnectionId, decision: Decision, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        if let Decision::Continue { data } = decision {
            self.send_auth(id, ReasonCode::CONTINUE_AUTHENTICATION, data.as_deref());
            return;
        }
        // Decoded once before, so this cannot fail; if it did, nobody would get in.
        let body = std::mem::take(&mut connection.rare().connect);
        let Ok(connect) = Connect::decode(0, &body) else {
            return;
        };
        match decision {
            Decision::Accept {
                user,
                data,
                permissions,
                keep_alive_seconds,
                session_expiry_seconds,
            } => {
                let rare = connection.rare();
                rare.keep_alive = keep_alive_seconds;
                rare.session_expiry = session_expiry_seconds;
                let admission = Admission {
                    user: user.or_else(|| connect.user_name.map(Into::into)),
                    rules: permissions,
                    authentication_data: data.as_deref(),
                };
                self.admit(id, &connect, admission, now);
            }
            Decision::Refuse { reason, text } => {
                self.refuse_connect(id, &connect, Refusal { reason, text }, now);
            }
            Decision::Continue { .. } => {}
        }
    }

    fn decide_again(&mut self, id: ConnectionId, decision: Decision, now: Time) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let waiting = connection
            .rare
            .as_ref()
            .is_some_and(|rare| rare.reauthenticating);
        if !waiting {
            return;
        }
        match decision {
            Decision::Continue { data } => {
                self.send_auth(id, ReasonCode::CONTINUE_AUTHENTICATION, data.as_deref());
            }
            Decision::Accept {
                user,
                data,
                permissions,
                ..
            } => {
                connection.rare().reauthenticating = false;
                let key = connection.session;
                if !self.renew_permissions(key, user.as_deref(), permissions) {
                    let cause = Cause::by_server(
                        ReasonCode::NOT_AUTHORIZED,
                        "re-authentication as another user",
                    );
                    return self.end_connection(id, cause, now);
                }
                self.send_auth(id, ReasonCode::SUCCESS, data.as_deref());
            }
            Decision::Refuse { reason, .. } => {
                let cause = Cause::by_server(reason, "re-authentication failed");
                self.end_connection(id, cause, now);
            }
        }
    }

    fn send_auth(&mut self, id: ConnectionId, reason: ReasonCode, data: Option<&[u8]>) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let method = connection
            .rare
            .as_ref()
            .and_then(|rare| rare.authentication_method.clone());
        if connection.version != Version::V5 {
            return;
        }
        let mut properties = PropertyBuffer::default();
        if let Some(method) = method {
            properties.push_string(PropertyId::AuthenticationMethod, &method);
        }
        if let Some(data) = data {
            properties.push_binary(PropertyId::AuthenticationData, data);
        }
        let auth = Auth {
            reason,
            properties: properties.as_properties(),
        };
        self.write_packet(id, &Packet::Auth(auth));
    }
}
