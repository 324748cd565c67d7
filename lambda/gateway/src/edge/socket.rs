//! One WebSocket connection, whatever carries it: texts in, frames out, doors 2, 3, 4 and 8.

use super::chatbot::{self, Asked, ChatbotVoice, PING, PONG, Wish};
use super::fields::Fields;
use super::invoke_model::{self, RawVoice};
use super::sendmessage::{self, PromptVoice};
use super::slots::{Held, Slots};
use super::voice::{Voice, error_object};
use super::{Doors, control};
use crate::chat::{Caller, Event, Request, Terminal, Usage};
use crate::error::{Error, Kind};
use crate::reply::Reader;
use crate::telemetry;
use futures_util::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// The longest message API Gateway passes on, in bytes; and the longest frame a client may send.
pub const MESSAGE_LIMIT: usize = 128 * 1024;

/// The client is not there any more.
#[derive(Debug, PartialEq)]
pub struct Gone;

/// What became of a frame that is sent once.
#[derive(Debug, PartialEq)]
pub enum Sent {
    /// The client has it.
    Surely,
    /// It may have it.
    Perhaps,
}

/// Where frames go: a socket here, `@connections` on AWS. It holds few frames and makes `send`
/// wait, so that what a slow client has not taken yet is gathered into later, fuller frames.
pub trait Outlet: Send + Sync {
    /// Sends a frame after those before it.
    fn send(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>>;
    /// Sends a frame that must not arrive twice: it is not tried again where it may have arrived.
    fn once(&self, frame: String) -> BoxFuture<'_, Result<Sent, Gone>> {
        Box::pin(async { self.send(frame).await.map(|()| Sent::Surely) })
    }
    /// Sends a frame ahead of those that wait.
    fn urgent(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>>;
    /// Closes the connection after the frames before it, with a WebSocket close code.
    fn close(&self, code: u16, reason: &'static str) -> BoxFuture<'_, Result<(), Gone>>;
}

/// What goes on after a text was taken in: the frames of a reply, until its terminal is out.
pub type Going = BoxFuture<'static, ()>;

/// A connection and its caller.
pub struct Session {
    doors: Arc<Doors>,
    caller: Caller,
    outlet: Arc<dyn Outlet>,
    running: Slots,
    delivery: Option<String>,
}

impl Session {
    /// A new connection of this caller.
    pub fn new(doors: Arc<Doors>, caller: Caller, outlet: Arc<dyn Outlet>) -> Session {
        Session { doors, caller, outlet, running: Slots::here(), delivery: None }
    }

    /// One message of a connection whose other messages other processes take in: what brought it may
    /// be repeated, and the connection's running replies are counted in the store.
    pub fn delivered(self, connection: &str, delivery: &str) -> Session {
        let running = Slots::stored(&self.doors, connection, delivery);
        Session { running, delivery: Some(format!("{connection}/{delivery}")), ..self }
    }

    /// Takes in one text. Small answers are sent before it returns; a reply's frames are the
    /// future that it returns, for the transport to run.
    pub async fn text(&self, text: &str) -> Option<Going> {
        if text.starts_with(PING) {
            let _gone = self.outlet.urgent(PONG.to_owned()).await;
            return None;
        }
        let mut fields = match Fields::parse(text.as_bytes()) {
            Ok(fields) => fields,
            Err(_) => return self.refuse(&unknown("no JSON object in it")).await,
        };
        let has_action = fields.has("action");
        match fields.text("action") {
            Ok(Some(action)) => self.action(&action, fields).await,
            Ok(None) if !has_action && fields.has("request_id") && fields.has("body") => {
                self.chatbot(fields).await
            }
            Ok(None) => self.refuse(&unknown("no known shape")).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    /// Closes the connection after the frames that wait.
    ///
    /// # Errors
    /// [`Gone`] where it is closed already.
    pub async fn close(&self, code: u16, reason: &'static str) -> Result<(), Gone> {
        self.outlet.close(code, reason).await
    }

    async fn action(&self, action: &str, mut fields: Fields) -> Option<Going> {
        match action {
            "sendmessage" => {
                let named = fields.peek_name("request_id");
                let request = self.delivery_of(sendmessage::request(fields, self.caller.clone()));
                let id = request.as_ref().map_or(named, |request| Some(request.id.clone()));
                self.answer(action, request, PromptVoice::new(id.as_deref().unwrap_or_default())).await
            }
            "invokeModel" => {
                let request = self.delivery_of(invoke_model::request(fields, self.caller.clone()));
                self.answer(action, request, RawVoice).await
            }
            "resume" => self.resume(&mut fields).await,
            "cancel" | "chats" | "chat" | "delete_chat" => {
                for frame in control::act(&self.doors, &self.caller, action, &mut fields).await {
                    self.outlet.send(frame).await.ok()?;
                }
                None
            }
            _ => {
                let known = "sendmessage, invokeModel, cancel, resume, chats, chat, delete_chat";
                let error =
                    Error::invalid("action", format!("The action is unknown. Known actions: {known}."));
                self.refuse(&error).await
            }
        }
    }

    async fn chatbot(&self, fields: Fields) -> Option<Going> {
        let Asked { request_id, wish } = chatbot::request(fields, self.caller.clone());
        let msg = match wish {
            Ok(Wish::Answer(request)) => {
                let request = self.delivery_of(Ok(*request));
                return self.answer("chatbot", request, ChatbotVoice::new(&request_id)).await;
            }
            Ok(Wish::Forget { chat_id }) => {
                match self.doors.gateway.delete_chat(&self.caller, &chat_id).await {
                    Ok(_) => Ok("The conversation is forgotten.".to_owned()),
                    Err(error) => Err(error),
                }
            }
            Ok(Wish::ListModels) => Ok(self.doors.gateway.menu().ids().join("\n")),
            Ok(Wish::Mode(mode)) => {
                Ok(format!("{mode}: noted. The gateway's settings decide what is switched on."))
            }
            Err(error) => Err(error),
        };
        let frame = match msg {
            Ok(msg) => chatbot::frame(&request_id, &msg, "completed"),
            Err(error) => {
                telemetry::refused("chatbot", Some(&request_id), &error);
                chatbot::error_frame(&request_id, "", &error)
            }
        };
        self.outlet.send(frame).await.ok()?;
        None
    }

    async fn resume(&self, fields: &mut Fields) -> Option<Going> {
        let named = fields.peek_name("request_id");
        match control::attach(&self.doors, &self.caller, fields).await {
            Ok(reader) => {
                let slot = match self.running.take().await {
                    Ok(slot) => slot,
                    Err(full) => return self.tell(control::failed("resume", named.as_deref(), &full)).await,
                };
                let voice = PromptVoice::new(&reader.reply().id).resumed(reader.seq());
                let stop = self.doors.gateway.settings.stop_on_disconnect;
                Some(self.pump(reader.stop_on_drop(stop), voice, slot))
            }
            Err(error) => self.tell(control::failed("resume", named.as_deref(), &error)).await,
        }
    }

    /// The request, with what delivered it: that may settle its id.
    fn delivery_of(&self, request: Result<Request, Error>) -> Result<Request, Error> {
        let mut request = request?;
        if let Some(delivery) = &self.delivery {
            request.delivered_by(delivery.clone());
        }
        Ok(request)
    }

    async fn answer(
        &self,
        door: &str,
        request: Result<Request, Error>,
        mut voice: impl Voice + 'static,
    ) -> Option<Going> {
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.fail(door, error, &mut voice).await,
        };
        let slot = match self.running.take().await {
            Ok(slot) => slot,
            Err(full) => return self.fail(door, full, &mut voice).await,
        };
        match self.doors.answer(request).await {
            Ok(reply) => {
                let stop = self.doors.gateway.settings.stop_on_disconnect;
                Some(self.pump(reply.read(0).stop_on_drop(stop), voice, slot))
            }
            Err(error) => {
                slot.free().await;
                self.fail(door, error, &mut voice).await
            }
        }
    }

    fn pump(&self, reader: Reader, voice: impl Voice + 'static, slot: Held) -> Going {
        let outlet = self.outlet.clone();
        let interval = self.doors.gateway.settings.push_interval;
        Box::pin(async move {
            let reply = reader.reply().clone();
            if pump(reader, voice, outlet.as_ref(), interval).await.is_err() {
                // The client is gone and nothing more can be pushed. Where the answer is finished all
                // the same, whoever runs this must not stop before it is.
                reply.ended().await;
            }
            slot.free().await;
        })
    }

    /// An error in the door's own format, as the whole reply.
    async fn fail(&self, door: &str, error: Error, voice: &mut impl Voice) -> Option<Going> {
        telemetry::refused(door, None, &error);
        for frame in voice.frames(Event::End(Terminal::Failed { error, usage: Usage::default() })) {
            self.outlet.send(frame).await.ok()?;
        }
        None
    }

    /// An error of no door's.
    async fn refuse(&self, error: &Error) -> Option<Going> {
        telemetry::refused("none", None, error);
        self.tell(json!({"error": error_object(error, None)}).to_string()).await
    }

    /// One frame, and nothing that goes on.
    async fn tell(&self, frame: String) -> Option<Going> {
        self.outlet.send(frame).await.ok()?;
        None
    }
}

/// Sends a reply's frames until its terminal. While one frame is on its way, or the interval has
/// not passed, what the model says gathers in the reply and goes out together.
async fn pump(
    mut reader: Reader,
    mut voice: impl Voice,
    outlet: &dyn Outlet,
    interval: std::time::Duration,
) -> Result<(), Gone> {
    let mut next = Instant::now();
    while let Some(step) = reader.next().await {
        let last = matches!(step, Event::End(_));
        let frames = voice.frames(step);
        let pause = !interval.is_zero() && !frames.is_empty();
        for frame in frames {
            if voice.bears_repetition() {
                outlet.send(frame).await?;
            } else if outlet.once(frame).await? == Sent::Perhaps {
                return match last {
                    true => hang_up(outlet).await,
                    false => give_up(&mut voice, outlet).await,
                };
            }
        }
        if pause {
            next = next.max(Instant::now()) + interval;
            tokio::select! {
                () = sleep_until(next) => {}
                // The end is not held back by the interval.
                () = reader.reply().ended() => {}
            }
        }
    }
    Ok(())
}

/// Ends a reply whose client may have missed a frame, and cannot be told which.
async fn give_up(voice: &mut impl Voice, outlet: &dyn Outlet) -> Result<(), Gone> {
    let message = "A part of the answer may have been lost on its way to you. Ask again.";
    let end = Terminal::from(Error::new(Kind::Unavailable, message));
    for frame in voice.frames(Event::End(end)) {
        if outlet.once(frame).await? == Sent::Perhaps {
            return hang_up(outlet).await;
        }
    }
    Err(Gone)
}

/// Closes a connection whose client may miss the end of a reply, or may have it already: a second one
/// would be taken for the end of the next reply.
async fn hang_up(outlet: &dyn Outlet) -> Result<(), Gone> {
    let _closed = outlet.close(1011, "The end of a reply may be lost.").await;
    Err(Gone)
}

fn unknown(what: &str) -> Error {
    let wanted =
        "an object with `action` (such as \"sendmessage\" with `prompt`), or `request_id` with `body`";
    Error::new(Kind::InvalidRequest, format!("The message has {what}. Send {wanted}."))
}
