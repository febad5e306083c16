use litecore_firmware_proto::arq::Flavor;
use litecore_firmware_proto::{CommandHeader, Cookie, Opcode};
use litecore_hal::pipe::*;
use litecore_hal::*;
use litecore_sim::card::{Card, CardOptions as E, PipeCard};
use litecore_sim::faces::*;
use litecore_sim::*;
use std::time::*;
fn main() {
    let chip = litecore_types::chip::builtin("tiny-4").unwrap();
    let card = || {
        Card::new(
            SimDevice::new(
                chip.clone(),
                SimOptions {
                    seed: litecore_types::Seed(0),
                    terms: Terms::none(),
                    record_timeline: false,
                },
            ),
            E::default(),
        )
    };
    let soon = || Deadline::after(Duration::from_secs(10));
    let run = |name: &str, link: Box<dyn Link>, n: usize, piece: usize| {
        let session = fresh_session();
        let mut dev =
            CardDevice::start(link, CardOptions { timeouts: Timeouts::default(), session }, soon())
                .unwrap();
        let mut st = 1u64;
        let pat: Vec<u8> = (0..1 << 20)
            .map(|_| {
                st ^= st << 13;
                st ^= st >> 7;
                st ^= st << 17;
                st.to_le_bytes()[3]
            })
            .collect();
        let mut seq = 1000;
        let mut once = |dev: &mut CardDevice| {
            for _ in 0..n {
                seq += 1;
                let mut c = CommandHeader::new(Cookie::new(session, seq), Opcode::Loopback);
                c.payload_len = piece as u64;
                c.reply_capacity = piece as u64;
                let l = dev.link();
                let (mut p, r) = (l.buffer(piece).unwrap(), l.buffer(piece).unwrap());
                p.copy_from_slice(&pat[..piece]);
                l.submit(&c, p, r).unwrap();
            }
            for _ in 0..n {
                dev.link().poll(soon()).unwrap().unwrap();
            }
        };
        for _ in 0..5 {
            once(&mut dev);
        }
        let c0 = dev.link_counters();
        let mut v: Vec<f64> = (0..100)
            .map(|_| {
                let t = Instant::now();
                once(&mut dev);
                t.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        v.sort_by(f64::total_cmp);
        println!(
            "{name}: {n} x {piece}: min {:.2} median {:.2} ms; resent {} damaged {}",
            v[0],
            v[50],
            dev.link_counters().resent - c0.resent,
            dev.link_counters().damaged - c0.damaged
        );
    };
    let only = std::env::args().nth(1);
    for mtu in [4096, 16384, 32768] {
        if only.as_ref().is_some_and(|o| *o != mtu.to_string()) {
            continue;
        }
        if only.is_none() {
            let pipe = InProcessPipe::new(
                PipeCard::new(card(), Flavor::Delimited, mtu),
                "x",
                PipeFraming::Delimited,
            );
            run(
                &format!("in-process pipe mtu {mtu}"),
                Box::new(
                    PipeLink::open(
                        Box::new(pipe),
                        PipeOptions { mtu, ..PipeOptions::usual(fresh_session()) },
                        soon(),
                    )
                    .unwrap(),
                ),
                16,
                64 << 10,
            );
        }
        let (stopper, stop) = stop_pair().unwrap();
        let path = std::env::temp_dir().join(format!("scratch-{}-{mtu}", std::process::id()));
        let mut port = SerialPort::bind(&path).unwrap();
        let c = card();
        let t = std::thread::spawn(move || {
            let mut end = PipeCard::new(c, Flavor::Delimited, mtu);
            port.serve(&mut end, &Clock::start(), &stop, &mut |_| {}).unwrap();
        });
        std::thread::sleep(Duration::from_millis(50));
        let pipe = SerialPipe::open(path.to_str().unwrap(), 3_000_000).unwrap();
        run(
            &format!("pty mtu {mtu}"),
            Box::new(
                PipeLink::open(
                    Box::new(pipe),
                    PipeOptions { mtu, ..PipeOptions::usual(fresh_session()) },
                    soon(),
                )
                .unwrap(),
            ),
            16,
            64 << 10,
        );
        stopper.stop();
        t.join().unwrap();
    }
}
