//! `thalweg predict RUN PICTURE...`: what a network says of picture files.

use crate::common;

use std::path::Path;

use common::program::{fails, npy, ok, table, thalweg, words};
use image::{DynamicImage, GrayImage, Luma, RgbImage};
use tempfile::TempDir;

const SIDE: u32 = 8;

/// Image `i` of class `i % 3`: a bright column at the class's place, in noise; its values channel after channel.
fn image(i: usize, channels: usize) -> Vec<u8> {
    let value = |at: usize| {
        let noise = (at * 37 + i * 101) % 60;
        (if at % 8 / 2 == i % 3 { 180 + noise } else { noise }) as u8
    };
    (0..channels * 64).map(value).collect()
}

/// Writes 30 images and their labels, and trains on them; the classes are called 1, 2 and 3.
fn trained(dir: &Path, channels: usize, more: &str) {
    let values = (0..30).flat_map(|i| image(i, channels)).collect();
    npy(&dir.join("x.npy"), &[30, channels as u64, 8, 8], values);
    npy(&dir.join("y.npy"), &[30], (0..30).map(|i| 1 + i % 3).collect::<Vec<i64>>());
    let line =
        format!("train --data npy:x.npy,y.npy --device cpu --quiet --epochs 4 --hidden 8 --batch 10 --run r {more}");
    ok(dir, &words(&line));
}

fn rgb(i: usize) -> RgbImage {
    let planes = image(i, 3);
    RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([0, 64, 128].map(|plane| planes[plane + (y * SIDE + x) as usize])))
}

fn grey(i: usize) -> GrayImage {
    let values = image(i, 1);
    GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([values[(y * SIDE + x) as usize]]))
}

/// The rows of a CSV file as they are written.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split(',').map(String::from).collect()).collect()
}

/// A training image as PNG is said to be what it is said to be as a sample, bit by bit, with any weights and as the mean of replicas;
/// the run's data need not be there.
#[test]
fn a_training_image_is_said_to_be_what_it_was() {
    for channels in [1, 3] {
        let dir = TempDir::new().unwrap();
        trained(dir.path(), channels, "--replicas 2 --set average={ema={decay=0.9}}");
        let names: Vec<String> = (0..30).map(|i| format!("{i}.png")).collect();
        for (i, name) in names.iter().enumerate() {
            let picture: DynamicImage = if channels == 1 { grey(i).into() } else { rgb(i).into() };
            picture.save(dir.path().join(name)).unwrap();
        }
        for weights in ["last", "ema"] {
            let line = format!("predict r --part train --device cpu --weights {weights} --out samples.csv");
            ok(dir.path(), &words(&line));
            let moved = dir.path().join("moved.npy");
            std::fs::rename(dir.path().join("x.npy"), &moved).unwrap();
            let line = format!("predict r --device cpu --weights {weights} --out pictures.csv");
            let said = ok(dir.path(), &[words(&line), names.iter().map(String::as_str).collect()].concat());
            std::fs::rename(&moved, dir.path().join("x.npy")).unwrap();
            let color = if channels == 1 { "grey" } else { "RGB" };
            assert!(said.starts_with(&format!("0.png: 8 x 8 {color}, as it is\n1.png: ")), "{said}");
            let last = format!("30 predictions of the {weights} weights for pictures in pictures.csv\n");
            assert!(said.ends_with(&last), "{said}");
            let (samples, pictures) = (rows(&dir.path().join("samples.csv")), rows(&dir.path().join("pictures.csv")));
            assert_eq!(pictures[0].join(","), "file,label,prediction,p0,p1,p2");
            assert_eq!(pictures.len(), 31);
            for (i, (sample, picture)) in samples[1..].iter().zip(&pictures[1..]).enumerate() {
                assert_eq!((&picture[0], &picture[1][..]), (&names[i], ""));
                assert_eq!(picture[2..], sample[2..], "image {i}");
            }
        }
    }
}

/// Without a file the likeliest classes are printed, by name; of one picture as of many, of RGB for a grey run, and of JPEG.
#[test]
fn pictures_are_told_in_a_table() {
    let dir = TempDir::new().unwrap();
    trained(dir.path(), 1, "");
    grey(1).save(dir.path().join("grey.png")).unwrap();
    // The same in three channels, between columns of other colours.
    let inner = DynamicImage::from(grey(1)).to_rgb8();
    let mut wide = RgbImage::from_pixel(12, 8, image::Rgb([200, 10, 90]));
    image::imageops::replace(&mut wide, &inner, 2, 0);
    wide.save(dir.path().join("wide.png")).unwrap();
    grey(1).save(dir.path().join("grey.jpg")).unwrap();
    let said = ok(dir.path(), &words("predict r grey.png wide.png grey.jpg --device cpu"));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "grey.png: 8 x 8 grey, as it is");
    assert_eq!(lines[1], "wide.png: 12 x 8 RGB: made grey, cropped to 8 x 8");
    assert_eq!(lines[2], "grey.jpg: 8 x 8 grey, as it is");
    assert_eq!((lines[4], lines[6]), ("by the last weights:", "file      prediction  probability"));
    ok(dir.path(), &words("predict r grey.png --device cpu --out said.csv"));
    let wanted = &rows(&dir.path().join("said.csv"))[1];
    let mut by_class: Vec<(String, f64)> =
        (0..3).map(|c| ((1 + c).to_string(), wanted[3 + c].parse().unwrap())).collect();
    by_class.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_eq!(by_class[0].0, wanted[2]);
    for (i, file) in ["grey.png", "wide.png", "grey.jpg"].into_iter().enumerate() {
        let told: Vec<Vec<&str>> = lines[7 + 3 * i..10 + 3 * i].iter().map(|line| words(line)).collect();
        assert_eq!(told[0][..2], [file, &by_class[0].0], "{said}");
        for (row, (class, p)) in told.iter().zip(&by_class).filter(|_| file == "grey.png") {
            assert_eq!(row[row.len() - 2..], [class.as_str(), &format!("{p:.4}")], "{said}");
        }
    }
    assert_eq!(lines.len(), 7 + 9, "{said}");
    let pair: Vec<&str> = lines[7..13].iter().map(|line| line.split_whitespace().last().unwrap()).collect();
    assert_eq!(pair[..3], pair[3..], "what is cut away is not seen");

    // Numbers that are to be predicted, in their own units.
    npy(&dir.path().join("y.npy"), &[30], (0..30).map(|i| 1000.0 + f64::from(i % 3)).collect());
    ok(
        dir.path(),
        &words("train --data npy:x.npy,y.npy --loss mse --standardize-targets --device cpu --quiet --epochs 9 --run n"),
    );
    let said = ok(dir.path(), &words("predict n grey.png --device cpu"));
    let told = words(said.lines().last().unwrap());
    assert_eq!(told[..2], ["grey.png", "0"], "{said}");
    ok(dir.path(), &words("predict n grey.png --device cpu --out said.csv"));
    let number = &rows(&dir.path().join("said.csv"))[1];
    assert_eq!((number[0].as_str(), number[1].as_str(), number[2].as_str()), ("grey.png", "", told[2]));
    assert!((told[2].parse::<f64>().unwrap() - 1001.0).abs() < 2.0, "{said}");
}

/// Each broken file has its line, nothing is predicted then, and nothing is written.
#[test]
fn what_is_no_picture_is_refused() {
    let dir = TempDir::new().unwrap();
    trained(dir.path(), 1, "");
    let path = |name: &str| dir.path().join(name);
    grey(0).save(path("whole.png")).unwrap();
    let bytes = std::fs::read(path("whole.png")).unwrap();
    std::fs::write(path("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(path("words.jpg"), "no picture").unwrap();
    let args = words("predict r whole.png cut.png none.png words.jpg --device cpu --out p.csv");
    let output = thalweg(dir.path(), &args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("error: cut.png: expected a whole PNG, found: "), "{said}");
    assert!(lines[1].starts_with("error: none.png: "), "{said}");
    assert_eq!(lines[2], "error: words.jpg: expected a PNG or a JPEG, found neither");
    assert!(!path("p.csv").exists());

    for line in ["predict r", "predict r whole.png --data npy:x.npy", "predict r whole.png --part train"] {
        assert!(fails(dir.path(), 2, &words(line)).contains("--"), "{line}");
    }
    std::fs::copy(path("whole.png"), path("whole.csv")).unwrap();
    let error = fails(dir.path(), 2, &words("predict r whole.csv --device cpu --out whole.csv"));
    assert_eq!(error, "error: --out: expected another file than those of the data, found whole.csv");
    assert_eq!(std::fs::read(path("whole.csv")).unwrap(), bytes);
    let error = fails(dir.path(), 2, &words("predict r whole.png --weights swa --device cpu"));
    assert!(error.contains("--weights: expected one of last"), "{error}");

    // Runs on what pictures cannot be brought to: a table, images as numbers, images of two channels.
    let refused = |data: &str, found: &str| {
        ok(dir.path(), &words(&format!("train --data {data} --device cpu --quiet --epochs 1 --overwrite --run o")));
        let error = fails(dir.path(), 2, &words("predict o whole.png"));
        let wanted = "error: o: expected a run on images of bytes, 0 to 255, with 1 or 3 channels";
        assert!(error.starts_with(wanted) && error.contains(found), "{error}");
    };
    let y = (0..30).map(|i| i % 2).collect::<Vec<i64>>();
    npy(&path("yy.npy"), &[30], y);
    npy(&path("f.npy"), &[30, 2, 2], (0..120).map(|i| i as f32 / 120.0).collect());
    refused("npy:f.npy,yy.npy", "found images of other values than bytes, whose scale nothing tells");
    npy(&path("two.npy"), &[30, 2, 2, 2], (0..240).map(|i| i as u8).collect());
    refused("npy:two.npy,yy.npy", "found images of 2 channels");
    refused(&table(&dir), "found a table of 3 features");
    let error = fails(dir.path(), 2, &words("predict nowhere whole.png"));
    assert!(error.starts_with("error: nowhere: expected the folder of a run"), "{error}");
}
