//! Makes the sample: a clapperboard whose flash and beep fall on each second, so that anybody can
//! see and hear whether sound and picture are in step.

use anyhow::Result;

use crate::{setup, sh};

/// 16 s are 480 frames at 30 Hz and exactly 750 AAC frames at 48 kHz: the clip loops without a
/// seam.
const SECONDS: u32 = 16;

/// Flash and beep last two frames and begin half-way through each second, so that no keyframe (and
/// with it no thumbnail) is blank.
const FLASH_SECONDS: &str = "0.0666667";

/// Writes assets/clapper.mp4.
pub(crate) fn make() -> Result<()> {
    setup::demo_packages()?;
    std::fs::create_dir_all(sh::root().join("assets"))?;
    let board = format!("color=c=0x14181d:s=1280x720:r=30:d={SECONDS}");
    let ball = format!("color=c=0xff5a36:s=40x40:r=30:d={SECONDS}");
    let beep = format!(
        "aevalsrc='0.6*sin(2*PI*1000*t)*lt(mod(t+0.5,1),{FLASH_SECONDS})':s=48000:d={SECONDS}"
    );
    let graph = graph();
    let mut args = vec!["-y", "-hide_banner", "-loglevel", "error"];
    for input in [&board, &ball, &beep] {
        args.extend(["-f", "lavfi", "-i", input]);
    }
    args.extend(["-filter_complex", &graph, "-map", "[v]", "-map", "2:a"]);
    args.extend("-c:v libx264 -preset slow -profile:v high -pix_fmt yuv420p -bf 2".split(' '));
    args.extend(
        "-g 60 -keyint_min 60 -sc_threshold 0 -b:v 450k -maxrate 700k -bufsize 700k".split(' '),
    );
    args.extend("-c:a aac -b:a 96k -ac 2 -fflags +bitexact -movflags +faststart".split(' '));
    args.push("assets/clapper.mp4");
    sh::run(sh::cmd("ffmpeg", &args))
}

/// Stripes, a clock, the frame number, a ball that crosses once a second, a white flash.
fn graph() -> String {
    let stripes = "geq=lum='if(lt(Y,112),if(lt(mod(X+Y,160),80),225,24),lum(X,Y))'\
                   :cb='if(lt(Y,112),128,cb(X,Y))':cr='if(lt(Y,112),128,cr(X,Y))'";
    let text = |what: &str, color: &str, size: u32, at: &str| {
        format!("drawtext=text='{what}':fontcolor={color}:fontsize={size}:{at}")
    };
    let steps = [
        stripes.to_owned(),
        "drawbox=x=0:y=112:w=iw:h=4:color=0xff5a36:t=fill".into(),
        text("STREAMR", "0x8fa3b5", 44, "x=60:y=170"),
        text("720p30  H.264 + AAC", "0x5d6f80", 32, "x=60:y=226"),
        text("%{pts\\:hms}", "white", 104, "x=(w-tw)/2:y=300"),
        text("frame %{n}", "0xff5a36", 72, "x=(w-tw)/2:y=440"),
        "drawbox=x=60:y=640:w=1160:h=8:color=0x2b333b:t=fill[board];[board][1:v]overlay=\
         x='60+1120*mod(n,30)/30':y=624"
            .into(),
        "drawbox=x=0:y=0:w=iw:h=ih:color=white:t=fill:enable='lt(mod(n+15,30),2)'[v]".into(),
    ];
    format!("[0:v]{}", steps.join(","))
}
